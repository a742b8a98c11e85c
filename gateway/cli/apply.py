"""`turnout apply`, `turnout diff` and `turnout export`: routes as files."""

from typing import Any

import click

from gateway.cli.files import read_documents, write_documents
from gateway.cli.session import How, Session, mutating, operator, report_applied, report_change

_FILE = click.option(
    "-f", "--file", "path", required=True, metavar="FILE", help="YAML, several documents with ---; - = stdin."
)


@click.command()
@_FILE
@mutating
@operator
def apply(session: Session, path: str, how: How) -> int:
    """Write route documents in one commit: all of them or none."""
    documents = read_documents(path)
    body = {name: value for name, value in how.body().items() if name != "expected_revision"}
    if how.expect is not None:
        if len(documents) > 1:
            raise click.UsageError("--expect is one route's revision, but the file has several documents")
        body["expected_revisions"] = {documents[0].get("model"): how.expect}
    result = session.client.post("apply", body={"documents": documents, **body})
    session.out.value(result)
    for route in result["results"]:
        report_change(session, route, how=how)
    return report_applied(session, result["applied"], result["revision"])


@click.command()
@_FILE
@operator
def diff(session: Session, path: str) -> int:
    """What would `apply` change? Exit code 2 if anything."""
    result = session.client.post("diff", body={"documents": read_documents(path)})
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
@operator
def export(session: Session, models: tuple[str, ...]) -> int:
    """Print the routes (of MODELS, or all) as a file for `turnout apply`."""
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
