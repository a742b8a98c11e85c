"""`turnout model`: register and show models and their versions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli.grammar import REASON, YES, Noun, changes_itself, changing, confirm, reading
from gateway.cli.model import standing
from gateway.cli.model.follow import follow
from gateway.cli.model.register import pairs, register
from gateway.cli.session import Session, operator
from gateway.cli.words import age, bytes_words, commit_words, tensors_words


@click.group(cls=Noun)
def model() -> None:
    """Register and show models and their versions."""


standing.add_to(model)
model.add_command(register)
model.add_command(follow)


@model.command("list")
@click.option(
    "--search", default="", help="Words, tag:NAME=VALUE, metric:accuracy>0.9, owner:NAME, digest:HEX."
)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=1000, show_default=True, help="Models at most."
)
@click.option("--after", default="", metavar="MODEL", help="Begin after this model.")
@reading
@operator
def list_models(session: Session, search: str, limit: int, after: str) -> int:
    """Every model with its versions."""
    found = session.client.get("models", search=search or None, limit=limit, after=after or None)
    session.out.value(found)
    session.out.table(
        ("model", "versions"),
        [(item["model"], " ".join(item["versions"])) for item in found["models"]],
        empty="no model is registered: `turnout model register MODEL --version 1 --from FILE`"
        if not search
        else "nothing is so",
    )
    if found["next"]:
        session.out.line(f"more: add --after {found['next']}")
    return 0


@model.command()
@click.argument("name", metavar="MODEL")
@click.argument("version", required=False)
@reading
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
        ("inputs", tensors_words(found["signature"]["inputs"])),
        ("outputs", tensors_words(found["signature"]["outputs"])),
        (
            "workers",
            f"{pool['ready']} ready, {pool['wanted'] if pool['wanted'] is not None else 'none'} wanted",
        ),
        ("source", found["source"]),
        ("lineage", _lineage(found["lineage"])),
        ("made by", found["producer"]),
        ("owner", found["owner"]),
        ("metrics", _metrics(found["metrics"])),
        ("tags", " ".join(f"{key}={value}" for key, value in sorted(found["tags"].items()))),
        ("notes", found["notes"]),
    ):
        if text:
            out.line(f"  {label:<8} {text}")
    return 0


_COMPARED = (
    "digest", "size_bytes", "platform", "source", "owner", "notes", "producer", "opsets", "metrics", "tags",
    "lineage", "signature", "card",
)  # fmt: skip


@model.command()
@click.argument("name", metavar="MODEL")
@click.argument("one")
@click.argument("other")
@reading
@operator
def diff(session: Session, name: str, one: str, other: str) -> int:
    """In what two versions differ."""
    first = session.client.get("models", name, "versions", one)
    second = session.client.get("models", name, "versions", other)
    found = {key: [first[key], second[key]] for key in _COMPARED if first[key] != second[key]}
    session.out.value({"model": name, "versions": [one, other], "differences": found})
    for key, (before, after) in found.items():
        if isinstance(before, dict):
            for part in sorted(before.keys() | after.keys()):
                if before.get(part) != after.get(part):
                    session.out.line(f"{key}.{part}: {before.get(part)} -> {after.get(part)}")
        elif key == "card":
            session.out.line(f"card: {len(before)} -> {len(after)} characters")
        else:
            session.out.line(f"{key}: {before} -> {after}")
    return 0


@model.command()
@click.argument("name", metavar="MODEL")
@click.argument("version")
@click.argument("tags", nargs=-1, required=True, metavar="NAME=VALUE|NAME-...")
@changing()
@operator
def tag(session: Session, name: str, version: str, tags: tuple[str, ...]) -> int:
    """Set tags of a version, or remove them (NAME-): the only part of it that changes."""
    gone = {text[:-1]: None for text in tags if "=" not in text and text.endswith("-") and len(text) > 1}
    wish = {**gone, **dict(pairs([text for text in tags if text[:-1] not in gone or "=" in text]))}
    found = session.client.put("models", name, "versions", version, "tags", body={"tags": wish})
    session.out.value(found)
    session.out.line(" ".join(f"{key}={value}" for key, value in sorted(found["tags"].items())) or "no tags")
    return 0


@model.command()
@click.argument("name", metavar="MODEL")
@click.argument("version")
@reading
@operator
def card(session: Session, name: str, version: str) -> int:
    """Print the model card of a version."""
    found = session.client.get("models", name, "versions", version)
    session.out.value({"card": found["card"]})
    session.out.line(found["card"].rstrip() or f"{name} {version} has no model card")
    return 0


@model.command()
@click.argument("name", metavar="MODEL")
@click.argument("version")
@click.option("--to", "path", required=True, metavar="FILE", help="A file that does not exist yet.")
@operator
def download(session: Session, name: str, version: str, path: str) -> int:
    """Fetch a version's file and check its digest."""
    digest = session.client.get("models", name, "versions", version)["digest"]
    target = Path(path)
    part = target.with_name(f".{target.name}.part")
    try:
        if target.exists():
            raise click.UsageError(f"{path} exists already")
        with part.open("wb") as file:
            got = session.client.download("models", name, "versions", version, "artifact", into=file)
        if got != digest:
            raise click.ClickException(f"what came is not the registered file (SHA-256 {got})")
        part.rename(target)
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    session.out.value({"path": str(target), "digest": digest})
    session.out.line(f"{target}: {digest}")
    return 0


@model.command("rm")
@click.argument("name", metavar="MODEL")
@click.argument("version")
@click.option(
    "--force", is_flag=True, help="Also where a policy keeps it, if it lets your role; with --reason."
)
@REASON
@changing(asks="Forget version {version} of {name}?")
@operator
def remove(session: Session, name: str, version: str, reason: str, force: bool) -> int:
    """Forget a version that nothing uses. Its file stays until `turnout model gc`.

    A policy with `retention.artefacts_days` keeps it for a time after it was retired or rejected.
    """
    found = session.client.delete(
        "models", name, "versions", version, reason=reason, force=str(force).lower()
    )
    session.out.value(found)
    for warning in found["warnings"]:
        session.out.warning(warning)
    session.out.line(f"{name} {version} is gone at revision {found['revision']}")
    return 0


@model.command()
@click.option(
    "--older-than-h",
    type=click.FloatRange(0, 100_000),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Keep what was sent since then: it may be about to be registered.",
)
@click.option("--dry-run", is_flag=True, help="Only say which.")
@YES
@REASON
@changes_itself
@operator
def gc(session: Session, older_than_h: float, dry_run: bool, yes: bool, reason: str) -> int:
    """Delete the model files that no version uses."""
    if not (yes or dry_run):
        confirm("Delete the model files that no version uses?")
    body = {"older_than_s": older_than_h * 3600, "dry_run": dry_run, "reason": reason}
    found = session.client.post("artifacts", "collect", body=body)
    session.out.value(found)
    for file in found["files"]:
        session.out.line(f"{file['digest']}  {bytes_words(file['size_bytes'])}")
    files = f"{len(found['files'])} unused files, {bytes_words(found['bytes'])}"
    if dry_run:
        session.out.dry_run(f"{files}, would go")
    else:
        session.out.line(f"gone: {files}")
    return 0


def _lineage(lineage: Mapping[str, Any]) -> str:
    """One line of what is known."""
    known = [f"{lineage['kind']}"] if lineage["kind"] else []
    known += [commit_words(lineage)] if lineage["git_commit"] else []
    known += [f"run {lineage['run_id']}"] if lineage["run_id"] else []
    known += [lineage["data_digest"]] if lineage["data_digest"] else []
    known += [text for text in (lineage["created_by"], lineage["created_at"], lineage["subject"]) if text]
    return ", ".join(known)


def _metrics(metrics: Mapping[str, float]) -> str:
    return " ".join(f"{key}={value:g}" for key, value in sorted(metrics.items()))
