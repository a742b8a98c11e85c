"""`turnout apply`, `turnout diff` and `turnout export`: routes as a file, or the installation as a folder."""

from pathlib import Path
from typing import Any

import click

from gateway.cli.folder.apply import apply_folder, compare_with_installed, tell
from gateway.cli.folder.files import read_documents, write_documents
from gateway.cli.folder.installed import installed
from gateway.cli.folder.layout import read_folder, write_folder
from gateway.cli.grammar import reading
from gateway.cli.session import How, Session, mutating, operator, report_applied, report_change
from gateway.cli.starting import with_workers

_FILE = click.option(
    "-f", "--file", "path", metavar="FILE", help="Routes as YAML, several with ---; - = stdin."
)
_DIR = click.option(
    "--dir", "directory", type=click.Path(path_type=Path), metavar="DIR",
    help="The installation as a folder: routes, policies, aliases; versions and keys are compared.",
)  # fmt: skip


@click.command()
@_FILE
@_DIR
@click.option("--prune", is_flag=True, help="Of a folder: remove what is in no file of it.")
@mutating
@operator
def apply(session: Session, path: str | None, directory: Path | None, prune: bool, how: How) -> int:
    """Write route documents in one commit, all of them or none; or bring everything to what a folder says."""
    if directory is not None and path is None:
        if how.expect is not None:
            raise click.UsageError("--expect is one route's revision: it does not go with --dir")
        return apply_folder(session, read_folder(directory), how=how, prune=prune)
    if prune:
        raise click.UsageError("--prune goes with --dir only")
    documents = read_documents(_one_of(path, directory))
    body = {name: value for name, value in how.body().items() if name != "expected_revision"}
    if how.expect is not None:
        if len(documents) > 1:
            raise click.UsageError("--expect is one route's revision, but the file has several documents")
        body["expected_revisions"] = {documents[0].get("model"): how.expect}
    result = with_workers(
        session,
        lambda: session.client.post("apply", body={"documents": documents, **body}),
        within_s=how.start_s,
    )
    session.out.value(result)
    for route in result["results"]:
        report_change(session, route, how=how)
    return report_applied(session, result["applied"], result["revision"])


@click.command()
@_FILE
@_DIR
@reading
@operator
def diff(session: Session, path: str | None, directory: Path | None) -> int:
    """What would `apply` change? Exit code 2 if anything."""
    if directory is not None and path is None:
        return _diff_folder(session, directory)
    documents = read_documents(_one_of(path, directory))
    result = session.client.post("diff", body={"documents": documents})
    session.out.value(result)
    for route in result["results"]:
        if not route["changes"]:
            session.out.line(f"{route['model']}: no difference (revision {route['revision']})")
            continue
        session.out.line(f"{route['model']}: differs from revision {route['revision']}")
        for change in route["changes"]:
            session.out.line(f"  {change}")
    return 2 if result["drift"] else 0


@click.command()
@click.argument("models", nargs=-1)
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Write everything into this folder instead: routes, policies, versions, aliases, roles.",
)  # fmt: skip
@operator
def export(session: Session, models: tuple[str, ...], directory: Path | None) -> int:
    """Print the routes (of MODELS, or all) as a file for `turnout apply`; or write the installation."""
    if directory is not None:
        if models:
            raise click.UsageError("--dir is about all models")
        return _export_folder(session, directory)
    found = session.client.get("export")
    documents: list[dict[str, Any]] = found["documents"]
    if models:
        known = {document["model"] for document in documents}
        for model in models:
            if model not in known:
                raise click.UsageError(f"{model} has no route")
        documents = [document for document in documents if document["model"] in models]
    session.out.value({"documents": documents})
    if documents:
        session.out.line(write_documents(documents).rstrip("\n"))
    for problem in found["problems"]:
        session.out.warning(problem)
    return 1 if found["problems"] else 0


def _one_of(path: str | None, directory: Path | None) -> str:
    if path is None or directory is not None:
        raise click.UsageError("give exactly one of -f FILE and --dir DIR")
    return path


def _diff_folder(session: Session, directory: Path) -> int:
    comparison = compare_with_installed(session, read_folder(directory))
    tell(session, comparison)
    told = [item.told() for item in comparison.items]
    session.out.value({"drift": comparison.drift, "items": told, "problems": list(comparison.found.problems)})
    if not comparison.drift:
        session.out.line(f"the installation is as {directory} says")
    return 2 if comparison.drift else 0


def _export_folder(session: Session, directory: Path) -> int:
    found = installed(session.client)
    for warning in write_folder(directory, found.folder):
        session.out.warning(warning)
    for problem in found.problems:
        session.out.warning(f"left out: {problem}")
    if found.folder.roles is None:
        session.out.warning("roles.yaml is left as it was: only admins see keys")
    counts = {part: len(getattr(found.folder, part)) for part in found.folder.parts}
    session.out.value({"dir": str(directory), "counts": counts, "problems": list(found.problems)})
    session.out.line(
        f"{directory}: " + ", ".join(f"{count} {_named(part, count)}" for part, count in counts.items())
    )
    return 1 if found.problems else 0


def _named(part: str, count: int) -> str:
    """`roles` are keys to people."""
    plural = "keys" if part == "roles" else part
    singular = {"policies": "policy", "aliases": "alias"}.get(plural, plural.removesuffix("s"))
    return singular if count == 1 else plural
