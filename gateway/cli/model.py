"""`turnout model`: register and show models and their versions."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gateway.cli import standing
from gateway.cli.files import existing_file
from gateway.cli.pools import wait_for_pool
from gateway.cli.session import Session, operator
from gateway.cli.words import age, bytes_words


@click.group()
def model() -> None:
    """Register and show models and their versions."""


standing.add_to(model)


@model.command()
@click.argument("name", metavar="MODEL")
@click.option(
    "--version", required=True, help="A name of your choice: 1, 2026-11-03. It never changes its content."
)
@click.option("--from", "path", required=True, metavar="FILE", help="The ONNX file.")
@click.option("--owner", default="", help="Who answers for it.")
@click.option("--notes", default="", help="What is to be known about it.")
@click.option("--source", default="", help="Where it came from. Default: the file's path.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME=VALUE",
    help="A number about it, such as accuracy=0.97.",
)
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE")
@click.option(
    "--workers", type=click.IntRange(0, 64), help="How many workers to keep. Default for a new version: 1."
)
@click.option("--wait/--no-wait", default=True, help="Return when its workers are ready. Default: wait.")
@click.option("--wait-s", type=click.FloatRange(0, 600), default=30.0, show_default=True, metavar="SECONDS")
@operator
def register(
    session: Session,
    name: str,
    version: str,
    path: str,
    owner: str,
    notes: str,
    source: str,
    metrics: tuple[str, ...],
    tags: tuple[str, ...],
    workers: int | None,
    wait: bool,
    wait_s: float,
) -> int:
    """Store a model file and register it as a version: digest and signature are read from the file."""
    file = existing_file(path)
    wish = {
        "digest": _digest(file),
        "source": source or str(file),
        "owner": owner,
        "notes": notes,
        "metrics": {key: _number(key, value) for key, value in _pairs(metrics)},
        "tags": dict(_pairs(tags)),
        "workers": workers,
    }
    uploaded = session.client.upload(file)
    if uploaded["digest"] != wish["digest"]:
        raise click.ClickException(f"{path} changed while it was read: register it again")
    result = session.client.put("models", name, "versions", version, body=wish)
    out = session.out
    if result["changed"]:
        out.line(
            f"{name} {version} registered at revision {result['revision']}: "
            f"{bytes_words(result['size_bytes'])}"
        )
    else:
        out.line(f"{name} {version} is registered already with this content")
    out.line(f"  digest  {result['digest']}")
    out.line(f"  inputs  {_tensors(result['signature']['inputs'])}")
    out.line(f"  outputs {_tensors(result['signature']['outputs'])}")
    pool = session.client.get("models", name, "versions", version)["pool"]
    code = 0
    if wait and pool["wanted"]:
        code, pool = wait_for_pool(session, name, version, workers=pool["wanted"], within_s=wait_s)
    out.value({**result, "pool": pool})
    return code


@model.command("list")
@operator
def list_models(session: Session) -> int:
    """Every model with its versions."""
    found = session.client.get("models")
    session.out.value(found)
    session.out.table(
        ("model", "versions"),
        [(item["model"], " ".join(item["versions"])) for item in found["models"]],
        empty="no model is registered: `turnout model register MODEL --version 1 --from FILE`",
    )
    return 0


@model.command()
@click.argument("name", metavar="MODEL")
@click.argument("version", required=False)
@operator
def show(session: Session, name: str, version: str | None) -> int:
    """All versions of a model, or everything about one."""
    if version is not None:
        return _show_version(session, name, version)
    found = session.client.get("models", name)
    session.out.value(found)
    session.out.table(
        ("version", "digest", "size>", "ready>", "wanted>", "owner", "metrics"),
        [
            (
                item["version"],
                item["digest"][:12],
                bytes_words(item["size_bytes"]),
                item["pool"]["ready"],
                item["pool"]["wanted"],
                item["owner"],
                _metrics(item["metrics"]),
            )
            for item in found["versions"]
        ],
    )
    return 0


def _show_version(session: Session, name: str, version: str) -> int:
    found = session.client.get("models", name, "versions", version)
    out, pool = session.out, found["pool"]
    out.value(found)
    out.line(f"{name} {version}, registered by {found['author']}, {age(found['at_ms'])}")
    for label, text in (
        ("digest", f"{found['digest']} ({bytes_words(found['size_bytes'])}, {found['platform']})"),
        ("inputs", _tensors(found["signature"]["inputs"])),
        ("outputs", _tensors(found["signature"]["outputs"])),
        (
            "workers",
            f"{pool['ready']} ready, {pool['wanted'] if pool['wanted'] is not None else 'none'} wanted",
        ),
        ("source", found["source"]),
        ("owner", found["owner"]),
        ("metrics", _metrics(found["metrics"])),
        ("tags", " ".join(f"{key}={value}" for key, value in sorted(found["tags"].items()))),
        ("notes", found["notes"]),
    ):
        if text:
            out.line(f"  {label:<8} {text}")
    return 0


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from None


def _tensors(specs: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{spec['name']} {spec['datatype']} [{_shape(spec['shape'])}]" for spec in specs)


def _shape(sizes: Sequence[int]) -> str:
    return ", ".join("n" if size < 0 else str(size) for size in sizes)


def _metrics(metrics: Mapping[str, float]) -> str:
    return " ".join(f"{key}={value:g}" for key, value in sorted(metrics.items()))


def _pairs(arguments: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not (key and equals):
            raise click.UsageError(f"{argument!r} is not NAME=VALUE")
        found.append((key, value))
    return found


def _number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value - value != 0:  # NaN and infinities
        raise click.UsageError(f"metric {key}: {text!r} is not a number")
    return value
