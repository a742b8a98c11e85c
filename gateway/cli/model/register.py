"""`turnout model register`: a model file from its source, checked, into the registry.

Sources are read on this machine, with this operator's rights; the control process gets bytes and lineage, and
fetches nothing itself.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from gateway.cli.grammar import changes_itself
from gateway.cli.pools import tell_until, wait_for_pool
from gateway.cli.progress import progress
from gateway.cli.rollout.once import Wish, plan_of, roll_out, until_ready, workers_like_baseline
from gateway.cli.session import Command, Session, operator
from gateway.cli.words import bytes_words, tensors_words
from gateway.contract.errors import CallerError, TurnoutError
from gateway.contract.lineage import MAX_CARD_BYTES, MAX_ENTRIES
from gateway.contract.names import is_model_name, is_version_name
from gateway.sources.fetch import fetch
from gateway.sources.fetched import Fetched, Limits

_ROOTS = click.option(
    "--source-root", "roots", multiple=True, envvar="TURNOUT_SOURCE_ROOTS", metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Local sources must lie in one of these folders. Default: anywhere.",
)  # fmt: skip
_HOSTS = click.option(
    "--source-host", "hosts", multiple=True, envvar="TURNOUT_SOURCE_HOSTS", metavar="NAME",
    help="A host that may be asked over plain HTTP (git+http), or because a source sends on to it, although "
    "it is not public.",
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
        help="How many workers, when it is needed. Default for a new version: 1; with `deploy` and --rollout "
        "as many as of the one that it replaces.",
    ),
    click.option("--always", is_flag=True, help="Keep its workers also while no route needs it."),
    _ROOTS,
    _HOSTS,
)


def describing(command: Command) -> Command:
    """What is said about a version, and where its source may lie: `described` takes all of it but `roots`
    and `hosts`."""
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
    "mlflow://HOST/models:/NAME@ALIAS, modeldb://HOST/WORKSPACE/MODEL/VERSION.",
)  # fmt: skip
@describing
@click.option("--wait/--no-wait", default=True, help="Return when its workers are ready. Default: wait.")
@click.option("--wait-s", type=click.FloatRange(0, 600), default=30.0, show_default=True, metavar="SECONDS")
@click.option(
    "--rollout", "plan", metavar="PLAN",
    help="Then start its rollout: a template or YAML, as `turnout deploy`. Policy judges it as any.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Fetch and check the source, and send nothing.")
@changes_itself
@operator
def register(
    session: Session,
    name: str,
    version: str,
    address: str,
    roots: tuple[Path, ...],
    hosts: tuple[str, ...],
    wait: bool,
    wait_s: float,
    plan: str | None,
    dry_run: bool,
    **said: Any,
) -> int:
    """Store a model file and register it as a version: digest and signature are read from the file.

    Its workers are started once, so that it is known whether they do, and stop when nothing needs it.
    """
    told = described(**said)
    check_names(name, version)
    wish = None if plan is None else Wish(name, version, plan)
    wanted = None if wish is None else plan_of(session, wish.plan)
    if wish is not None and told["workers"] is None:
        told["workers"] = workers_like_baseline(session, wish)
    with fetched(address, limits=Limits(roots=roots, hosts=hosts)) as found:
        if dry_run:
            session.out.value(try_to_register(session, name, version, found))
            return 0
        sent = {**told, "source": told["source"] or found.address}
        result = send(session, name, version, found, sent)
    report(session, result)
    pool = session.client.get("models", name, "versions", version)["pool"]
    code = 0
    if wait and pool["wanted"]:
        code, pool = wait_for_pool(session, name, version, within_s=wait_s)
        tell_until(session, pool)
    rollout = None
    if wish is not None and wanted is not None:
        until_ready(session, wish, within_s=wait_s)
        rollout = roll_out(session, wish, wanted)
        if rollout is None:
            session.out.line(f"{name} {version} answers all requests already")
    session.out.value({**result, "pool": pool, **({} if wish is None else {"rollout": rollout})})
    return code


def try_to_register(session: Session, name: str, version: str, found: Fetched) -> dict[str, Any]:
    """What a dry run says of it. Signature and policies are judged by the control process, when it has the
    file."""
    digest, size_bytes = _digest(found.path), found.path.stat().st_size
    try:
        known = session.client.get("models", name, "versions", version)["digest"]
    except TurnoutError as error:
        if error.code not in ("unknown_model", "unknown_version"):
            raise
        known = None
    if known not in (None, digest):
        raise CallerError("conflict", f"{name} {version} is registered with another file ({known[:12]})")
    state = "would be registered" if known is None else "is registered already with this content"
    session.out.dry_run(f"{name} {version} {state}, {bytes_words(size_bytes)}")
    session.out.line(f"  digest  {digest}")
    session.out.line(f"  source  {found.address}")
    if known is None:
        session.out.line("  checked when it is sent: that workers can run it, and policy")
    return {
        "dry_run": True, "is_registered": known is not None, "digest": digest, "size_bytes": size_bytes,
        "source": found.address,
    }  # fmt: skip


def described(
    *,
    owner: str,
    notes: str,
    source: str,
    card: str | None,
    metrics: tuple[str, ...],
    tags: tuple[str, ...],
    workers: int | None,
    always: bool,
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
        "keep": "always" if always else None,
    }


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
        raise CallerError(
            "bad_request", f"{model[:80]!a} is no name for a model: a-z, 0-9 and ._- (at most 64)"
        )
    if not is_version_name(version):
        raise CallerError(
            "bad_request", f"{version[:80]!a} is no name for a version: A-Z, a-z, 0-9 and ._- (at most 32)"
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
