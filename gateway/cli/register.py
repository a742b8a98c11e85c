"""`turnout model register` and `follow`: a model file from its source, checked, into the registry.

Sources are read on this machine, with this operator's rights; the control process gets bytes and lineage, and
fetches nothing itself.
"""

import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from gateway.cli.grammar import changes_itself
from gateway.cli.pools import wait_for_pool
from gateway.cli.progress import progress
from gateway.cli.session import Command, Session, operator
from gateway.cli.words import bytes_words, tensors_words
from gateway.contract.errors import CallerError, TurnoutError
from gateway.contract.lineage import MAX_CARD_BYTES, MAX_ENTRIES
from gateway.contract.names import is_model_name, is_version_name
from gateway.sources.fetch import fetch
from gateway.sources.fetched import Fetched, Limits
from gateway.sources.mlflow import Mlflow, parse_mlflow

_ROOTS = click.option(
    "--source-root", "roots", multiple=True, envvar="TURNOUT_SOURCE_ROOTS", metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Local sources must lie in one of these folders. Default: anywhere.",
)  # fmt: skip


_DESCRIBING = (
    click.option("--owner", default="", help="Who answers for it."),
    click.option("--notes", default="", help="What is to be known about it."),
    click.option("--source", default="", help="Where it came from. Default: what --from says, made exact."),
    click.option("--card", metavar="FILE", help="Its model card, Markdown, at most 64 KiB."),
    click.option(
        "--metric",
        "metrics",
        multiple=True,
        metavar="NAME=VALUE",
        help="A number about it, such as accuracy=0.97.",
    ),
    click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE"),
    click.option(
        "--workers",
        type=click.IntRange(0, 64),
        help="How many workers to keep. Default for a new version: 1; with `deploy` as many as of the one "
        "that it replaces.",
    ),
    _ROOTS,
)


def describing(command: Command) -> Command:
    """What is said about a version, and where its source may lie: `described` takes all of it but `roots`."""
    for option in reversed(_DESCRIBING):
        command = option(command)
    return command


@click.command()
@click.argument("name", metavar="MODEL")
@click.option(
    "--version", required=True, help="A name of your choice: 1, 2026-11-03. It never changes its content."
)
@click.option(
    "--from", "address", required=True, metavar="SOURCE",
    help="An ONNX file or folder, git+file:///REPO@REV#PATH, git+https://…, dvc+git+…, "
    "mlflow://HOST/models:/NAME@ALIAS.",
)  # fmt: skip
@describing
@click.option("--wait/--no-wait", default=True, help="Return when its workers are ready. Default: wait.")
@click.option("--wait-s", type=click.FloatRange(0, 600), default=30.0, show_default=True, metavar="SECONDS")
@click.option("--dry-run", is_flag=True, help="Fetch and check the source, and send nothing.")
@changes_itself
@operator
def register(
    session: Session,
    name: str,
    version: str,
    address: str,
    roots: tuple[Path, ...],
    wait: bool,
    wait_s: float,
    dry_run: bool,
    **said: Any,
) -> int:
    """Store a model file and register it as a version: digest and signature are read from the file."""
    told = described(**said)
    check_names(name, version)
    with fetched(address, limits=Limits(roots=roots)) as found:
        if dry_run:
            return _try(session, name, version, found)
        sent = {**told, "source": told["source"] or found.address}
        result = send(session, name, version, found, sent)
    report(session, result)
    pool = session.client.get("models", name, "versions", version)["pool"]
    code = 0
    if wait and pool["wanted"]:
        code, pool = wait_for_pool(session, name, version, workers=pool["wanted"], within_s=wait_s)
    session.out.value({**result, "pool": pool})
    return code


def _try(session: Session, name: str, version: str, found: Fetched) -> int:
    """Signature and policies are judged by the control process, when it has the file."""
    digest, size_bytes = _digest(found.path), found.path.stat().st_size
    try:
        known = session.client.get("models", name, "versions", version)["digest"]
    except TurnoutError as error:
        if error.code not in ("unknown_model", "unknown_version"):
            raise
        known = None
    if known not in (None, digest):
        raise CallerError("conflict", f"{name} {version} is registered with another file ({known[:12]})")
    session.out.value({"dry_run": True, "digest": digest, "size_bytes": size_bytes, "source": found.address})
    state = "would be registered" if known is None else "is registered already with this content"
    session.out.line(f"{name} {version} {state}: {bytes_words(size_bytes)}; this was a dry run")
    session.out.line(f"  digest  {digest}")
    session.out.line(f"  source  {found.address}")
    return 0


def described(
    *,
    owner: str,
    notes: str,
    source: str,
    card: str | None,
    metrics: tuple[str, ...],
    tags: tuple[str, ...],
    workers: int | None,
) -> dict[str, Any]:
    """What the options of `describing` say, as the control API takes it."""
    return {
        "owner": owner,
        "notes": notes,
        "source": source,
        "metrics": {key: _number(key, value) for key, value in pairs(metrics)},
        "tags": dict(pairs(tags)),
        "card": "" if card is None else _card(Path(card)),
        "workers": workers,
    }


@click.command()
@click.argument("name", metavar="MODEL")
@click.argument("address", metavar="mlflow://HOST/models:/NAME")
@click.option("--alias", required=True, help="The alias of MLflow to follow, such as champion.")
@click.option(
    "--every-s", type=click.FloatRange(1, 86400), default=30.0, show_default=True, metavar="SECONDS"
)
@click.option("--once", is_flag=True, help="Look once and end.")
@operator
def follow(session: Session, name: str, address: str, alias: str, every_s: float, once: bool) -> int:
    """Register what an alias of MLflow means whenever it moves, and say how to roll it out."""
    named = parse_mlflow(address, alias=alias)
    limits, last = Limits(), ""
    while True:
        try:
            server = Mlflow(named.url, limits=limits)
            try:
                version = str(server.version(named).get("version", ""))
            finally:
                server.close()
            if version != last:
                _follow_to(session, name, named.at(version), version, limits=limits)
                last = version
        except TurnoutError as error:
            if once:
                raise
            session.out.error(error)
        if once:
            return 0
        time.sleep(every_s)


def _follow_to(session: Session, name: str, address: str, version: str, *, limits: Limits) -> None:
    check_names(name, version)
    known = {item["model"]: item["versions"] for item in session.client.get("models")["models"]}
    if version in known.get(name, []):
        session.out.line(f"{name} {version} is registered already")
        return
    with fetched(address, limits=limits) as found:
        report(session, send(session, name, version, found, {"source": found.address}))
    session.out.line(f"to roll it out: turnout rollout start {name} --to {version} --plan standard")


def send(
    session: Session, name: str, version: str, found: Fetched, said: Mapping[str, Any]
) -> dict[str, Any]:
    """Uploads the file, unless it changes meanwhile, and registers it; what the operator says wins over
    what the source says."""
    digest = _digest(found.path)
    uploaded = session.client.upload(found.path)
    if uploaded["digest"] != digest:
        raise CallerError("conflict", f"{found.path} changed while it was read: register it again")
    wish = {
        **said,
        "digest": digest,
        "lineage": found.lineage.model_dump(mode="json"),
        "metrics": _joined(said.get("metrics", {}), found.metrics),
        "tags": _joined(said.get("tags", {}), found.tags),
    }
    return session.client.put("models", name, "versions", version, body=wish)


def report(session: Session, result: Mapping[str, Any]) -> None:
    out, name, version = session.out, result["model"], result["version"]
    if result["changed"]:
        out.line(
            f"{name} {version} registered at revision {result['revision']}: "
            f"{bytes_words(result['size_bytes'])}"
        )
    else:
        out.line(f"{name} {version} is registered already with this content")
    out.line(f"  digest  {result['digest']}")
    out.line(f"  inputs  {tensors_words(result['signature']['inputs'])}")
    out.line(f"  outputs {tensors_words(result['signature']['outputs'])}")
    for warning in result["warnings"]:
        out.warning(warning)


@contextmanager
def fetched(address: str, *, limits: Limits) -> Iterator[Fetched]:
    with tempfile.TemporaryDirectory(prefix="turnout-source-") as into:
        with progress(f"fetching {address}"):
            found = fetch(address, Path(into), limits=limits)
        yield found


def check_names(model: str, version: str) -> None:
    """Before anything is fetched."""
    if not is_model_name(model):
        raise CallerError("bad_request", f"{model!r} is no name for a model: a-z, 0-9 and ._- (at most 64)")
    if not is_version_name(version):
        raise CallerError(
            "bad_request", f"{version!r} is no name for a version: A-Z, a-z, 0-9 and ._- (at most 32)"
        )


def pairs(arguments: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not (key and equals):
            raise click.UsageError(f"{argument!r} is not NAME=VALUE")
        found.append((key, value))
    return found


def _joined(said: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """What the operator says first, so that it is not what falls beyond the limit."""
    return dict(list({**said, **found, **said}.items())[:MAX_ENTRIES])


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from None


def _card(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_CARD_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{file}: not a text file (UTF-8)") from None
    if len(data) > MAX_CARD_BYTES:
        raise click.UsageError(f"{file}: longer than {MAX_CARD_BYTES // 1024} KiB")
    return text


def _number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value - value != 0:  # NaN and infinities
        raise click.UsageError(f"metric {key}: {text!r} is not a number")
    return value
