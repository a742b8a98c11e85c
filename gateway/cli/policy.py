"""`turnout policy`: the rules that changes and rollouts have to keep."""

from collections.abc import Iterator
from typing import Any

import click

from gateway.cli.client import WouldChange
from gateway.cli.folder.files import read_documents, write_documents
from gateway.cli.grammar import REASON, Noun, changing, reading
from gateway.cli.session import Session, operator
from gateway.cli.words import age

_FILE = click.option("-f", "--file", "path", required=True, metavar="FILE", help="YAML; - = stdin.")


@click.group(cls=Noun)
def policy() -> None:
    """Show, write and try the rules that changes and rollouts have to keep."""


@policy.command("list")
@reading
@operator
def list_policies(session: Session) -> int:
    """Every policy with the models that it is about."""
    found = session.client.get("policies")
    session.out.value(found)
    session.out.table(
        ("policy", "models", "rules", "override"),
        [
            (
                item["policy"],
                " ".join(item.get("models", ["*"])),
                " ".join(sorted(item.keys() - {"policy", "models", "description", "override"})),
                item.get("override", "admin") or "nobody",
            )
            for item in found["policies"]
        ],
        empty="no policy: every registered version may answer; write one with `turnout policy apply`",
    )
    for problem in found["problems"]:
        session.out.warning(problem)
    return 1 if found["problems"] else 0


@policy.command()
@click.argument("name", metavar="POLICY")
@reading
@operator
def show(session: Session, name: str) -> int:
    """One policy as a file, and who wrote it."""
    found = session.client.get("policies", name)
    session.out.value(found)
    session.out.line(f"# revision {found['revision']} by {found['author']}, {age(found['at_ms'])}")
    session.out.line(write_documents([found["document"]]).rstrip("\n"))
    return 0


@policy.command()
@_FILE
@REASON
@changing()
@operator
def apply(session: Session, path: str, reason: str) -> int:
    """Write policies from a file, each as one change."""
    results = []
    for document in read_documents(path):
        name = str(document.get("policy", ""))
        if not name:
            raise click.UsageError(f"{path}: a policy begins with `policy: NAME`")
        try:
            result = session.client.put("policies", name, body={"policy": document, "reason": reason})
        except WouldChange:
            session.out.dry_run(f"policy {name} would be written")
            results.append({"policy": name, "dry_run": True, "changed": True})
            continue
        results.append(result)
        what = "written" if result["changed"] else "is so already"
        session.out.line(f"policy {name} {what} (revision {result['revision']})")
        for warning in result["warnings"]:
            session.out.warning(f"already so, and not changed by this: {warning}")
    session.out.value({"results": results})
    return 0


@policy.command()
@click.argument("name", metavar="POLICY")
@REASON
@changing(asks="Remove policy {name}?")
@operator
def rm(session: Session, name: str, reason: str) -> int:
    """Remove a policy; its history stays in the audit log."""
    result = session.client.delete("policies", name, reason=reason)
    session.out.value(result)
    session.out.line(f"policy {name} removed (revision {result['revision']})")
    return 0


@policy.command()
@click.argument("model")
@click.argument("version", required=False)
@reading
@operator
def explain(session: Session, model: str, version: str | None) -> int:
    """What do the policies of a model ask for, and what stands against a version now? Then exit code 3."""
    asked = {} if version is None else {"version": version}
    found = session.client.get("models", model, "policies", **asked)
    session.out.value(found)
    out = session.out
    for item in found["policies"]:
        out.line(f"{item['policy']}{': ' if item['description'] else ''}{item['description']}")
        for rule in item["rules"]:
            out.line(f"  {rule['rule']:<18} {rule['sentence']}")
    if not found["policies"]:
        out.line(f"no policy is about {model}: every registered version may answer")
    for problem in found["problems"]:
        out.warning(problem)
    for item in found["broken"]:
        out.failure(f"{item['sentence']} [{item['rule']}]")
    if version is not None and not found["broken"]:
        out.line(f"nothing stands against {model} {version} answering now")
    return 3 if found["broken"] else 0


@policy.command()
@_FILE
@reading
@operator
def check(session: Session, path: str) -> int:
    """Would policy let this pass? Exit code 3 if not.

    FILE has routes, plans with model and candidate, or aliases as in aliases.yaml.
    """
    results: list[dict[str, Any]] = []
    for model, what, wish in _asked(path):
        result = session.client.post("policies", "check", body=wish)
        results.append({"model": model, "about": what, **result})
        if result["allowed"]:
            session.out.line(f"{what}: allowed")
        for broken in result["broken"]:
            who = f"override: {broken['override']}" if broken["override"] else "nobody may override it"
            session.out.failure(f"{what}: {broken['sentence']} [{broken['rule']}; {who}]")
    session.out.value({"results": results})
    return 0 if all(result["allowed"] for result in results) else 3


def _asked(path: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Model, what is asked about in words, and the request that asks."""
    for document in read_documents(path):
        model = str(document.get("model"))
        if isinstance(aliases := document.get("aliases"), list):
            for entry in aliases:
                asked = {"model": model, **entry} if isinstance(entry, dict) else entry
                name = entry.get("alias") if isinstance(entry, dict) else entry
                yield model, f"{model} {name}", {"alias": asked}
        elif "alias" in document:
            yield model, f"{model} {document['alias']}", {"alias": document}
        else:
            yield model, model, {"plan" if "steps" in document else "route": document}
