"""`turnout route`: show and change how a model's requests are split."""

from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.alias import resolve_aliases
from gateway.cli.folder.files import read_documents
from gateway.cli.grammar import YES, Noun, confirm, reading
from gateway.cli.session import How, Session, advise_after, mutating, operator, report_applied, report_change
from gateway.cli.starting import with_workers
from gateway.cli.words import (
    age,
    document_lines,
    follow_words,
    moment,
    parse_weights,
    quoted,
    shadow_words,
    split_words,
)


@click.group(cls=Noun)
def route() -> None:
    """Show and change how a model's requests are split."""


@route.command("list")
@reading
@operator
def list_routes(session: Session) -> int:
    """Every route in one line."""
    found = session.client.get("routes")
    session.out.value(found)
    session.out.table(
        ("model", "split", "shadows", "rules>", "live", "revision>", "changed", "by", "state"),
        [_row(item) for item in found["routes"]],
        empty="no route yet: `turnout route split MODEL VERSION=100` makes one",
    )
    return 0


@route.command()
@click.argument("model")
@reading
@operator
def show(session: Session, model: str) -> int:
    """What a route says, who wrote it, who serves it."""
    found = session.client.get("routes", model)
    session.out.value(found)
    out = session.out
    by = f"{found['author']}, {age(found['at_ms'])}" if found["at_ms"] else "unknown"
    out.line(f"{model} at revision {found['revision']}, by {by}" + quoted(found["reason"]))
    _show_document(session, found["document"])
    if found["following"] is not None:
        out.line(f"  {'follows':<10} {follow_words(found['following'])}")
    _show_gateways(session, found)
    _show_problems(session, found)
    return 0


@route.command("set")
@click.option("-f", "--file", "path", required=True, metavar="FILE", help="YAML or JSON; - = standard input.")
@mutating
@operator
def set_route(session: Session, path: str, how: How) -> int:
    """Write a whole route document. (`turnout apply` takes several.)"""
    documents = read_documents(path)
    if len(documents) > 1:
        raise click.UsageError(
            f"{path} has {len(documents)} documents: `turnout apply -f {path}` takes them all"
        )
    model = documents[0].get("model")
    if not isinstance(model, str):
        raise click.UsageError(f"{path}: `model:` is missing or not a word")
    return _edit(session, model, {"kind": "replace", "route": documents[0]}, how)


@route.command()
@click.argument("model")
@click.argument("weights", nargs=-1, required=True, metavar="VERSION=PERCENT...")
@mutating
@operator
def split(session: Session, model: str, weights: tuple[str, ...], how: How) -> int:
    """Divide requests between versions.

    turnout route split digits 1=90 2=10

    @ALIAS=PERCENT means the version that the alias has now; the route keeps the version.
    """
    weights = resolve_aliases(session, model, weights)
    entries = [{"version": version, "weight": weight} for version, weight in parse_weights(weights)]
    return _edit(session, model, {"kind": "split", "split": entries}, how)


@route.command()
@click.argument("model")
@click.argument("version", required=False)
@click.option(
    "--header", "headers", multiple=True, metavar="NAME[=VALUE]", help="Only requests with this header."
)
@click.option("--name", metavar="NAME", help="The rule's name; default pin-VERSION.")
@click.option("--off", metavar="NAME", help="Remove the rule with this name.")
@mutating
@operator
def pin(
    session: Session,
    model: str,
    version: str | None,
    headers: tuple[str, ...],
    name: str | None,
    off: str | None,
    how: How,
) -> int:
    """Send the requests with a header, or all, to one version.

    turnout route pin digits 2 --header x-tenant=beta --name beta
    """
    if (version is None) == (off is None):
        raise click.UsageError("give a VERSION to pin to, or --off NAME to remove a rule")
    if off is not None:
        return _edit(session, model, {"kind": "remove_rule", "name": off}, how)
    if name is not None and not headers:
        raise click.UsageError("--name names a rule, and a rule needs --header")
    conditions = [_condition(header) for header in headers]
    return _edit(session, model, {"kind": "pin", "version": version, "match": conditions, "name": name}, how)


@route.command()
@click.argument("model")
@click.argument("shadows", nargs=-1, metavar="[VERSION=PERCENT]...")
@click.option("--off", is_flag=True, help="Copy to nobody any more.")
@mutating
@operator
def shadow(session: Session, model: str, shadows: tuple[str, ...], off: bool, how: How) -> int:
    """Copy requests to versions that never answer clients.

    turnout route shadow digits 3=100
    """
    if off == bool(shadows):
        raise click.UsageError("give VERSION=PERCENT for each shadow, or --off")
    entries = [{"version": version, "percent": percent} for version, percent in parse_weights(shadows)]
    return _edit(session, model, {"kind": "shadows", "shadows": entries}, how)


@route.command()
@click.argument("model")
@click.argument("version", required=False)
@click.option("--off", is_flag=True, help="Nobody answers for a version without workers: 503.")
@mutating
@operator
def fallback(session: Session, model: str, version: str | None, off: bool, how: How) -> int:
    """Who answers where the chosen version has no worker."""
    if (version is None) != off:
        raise click.UsageError("give the VERSION that steps in, or --off")
    return _edit(session, model, {"kind": "fallback", "version": version}, how)


@route.command()
@click.argument("model")
@click.argument("alias_name", metavar="ALIAS", required=False)
@click.option("--plan", metavar="NAME",
    help="A template of rollouts (`turnout rollout plans`). Default: all requests at once.")  # fmt: skip
@click.option("--off", is_flag=True, help="Follow no alias any more; traffic stays as it is.")
@mutating
@operator
def follow(
    session: Session, model: str, alias_name: str | None, plan: str | None, off: bool, how: How
) -> int:
    """Let the route follow an alias: when it moves, its version takes over, as policy allows.

    turnout route follow digits champion --plan standard
    """
    if (alias_name is None) != off or (off and plan is not None):
        raise click.UsageError("give the ALIAS to follow, with --plan NAME or without, or --off")
    wish = None if off else {"alias": alias_name, "plan": plan}
    return _edit(session, model, {"kind": "follow", "follow": wish}, how)


@route.command()
@click.argument("model")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@reading
@operator
def history(session: Session, model: str, limit: int) -> int:
    """Who changed what, newest first."""
    found = session.client.get("routes", model, "history", limit=limit)
    session.out.value(found)
    session.out.table(
        ("revision>", "when", "by", "reason", "changes"),
        [
            (
                entry["revision"],
                moment(entry["at_ms"]),
                entry["author"],
                entry["reason"],
                "; ".join(entry["changes"]) if entry["document"] else "deleted",
            )
            for entry in found["history"]
        ]
        if not session.out.is_json
        else [],
    )
    session.out.advise(("put back:", f"turnout route rollback {model} --to REVISION"))
    return 0


@route.command()
@click.argument("model")
@click.option(
    "--to", type=click.IntRange(min=1), metavar="REVISION", help="Default: the form before the last change."
)
@mutating
@operator
def rollback(session: Session, model: str, to: int | None, how: How) -> int:
    """Put an earlier form of the route back, exactly.

    Where the last change went back itself (a rollback, `cutover --back`, a rollout that failed), nothing
    happens without --to: typed twice, it brings no bad version back.
    """
    return _edit(session, model, {"kind": "rollback", "to": to}, how)


@route.command()
@click.argument("model")
@YES
@mutating
@operator
def delete(session: Session, model: str, yes: bool, how: How) -> int:
    """Remove a route; rollback brings it back."""
    if not yes and not how.dry_run:
        confirm(f"Requests for {model} will be refused. Delete its route?")
    return _edit(session, model, {"kind": "delete"}, how)


def _edit(session: Session, model: str, edit: Mapping[str, Any], how: How) -> int:
    body = {"edit": edit, **how.body()}
    result = with_workers(
        session, lambda: session.client.post("routes", model, "edit", body=body), within_s=how.start_s
    )
    session.out.value(result)
    report_change(session, result, how=how)
    code = report_applied(session, result["applied"], result["revision"])
    advise_after(session, result)
    return code


def _condition(header: str) -> dict[str, Any]:
    name, equals, value = header.partition("=")
    return {"header": name.lower(), "exact": value} if equals else {"header": name.lower(), "present": True}


def _row(item: Mapping[str, Any]) -> tuple[Any, ...]:
    document = item["document"] if not item["problems"] else {}
    live = (document.get("slots") or {}).get("live", "")
    return (
        item["model"],
        split_words(document.get("split", ())),
        shadow_words(document.get("shadows", ())),
        len(document.get("rules", ())) or "",
        live,
        item["revision"],
        age(item["at_ms"]) if item["at_ms"] else "",
        item["author"],
        "cannot be read" if item["problems"] else "ok",
    )


def _show_document(session: Session, document: Mapping[str, Any] | None) -> None:
    if not isinstance(document, dict) or not isinstance(document.get("split"), list):
        return
    try:
        lines = document_lines(document)
    except (KeyError, TypeError, ValueError, AttributeError):
        return  # edited by hand into nonsense: the problems below say so
    for name, text in lines:
        session.out.line(f"  {name:<10} {text}")


def _show_gateways(session: Session, found: Mapping[str, Any]) -> None:
    gateways = found["gateways"]
    serving = sum(gateway["serves_this"] for gateway in gateways)
    if not gateways:
        session.out.line("  gateways   none is running")
    else:
        session.out.line(f"  gateways   {serving}/{len(gateways)} serve it")
    for gateway in gateways:
        if not gateway["serves_this"]:
            session.out.line(f"             {gateway['address']} is still at revision {gateway['revision']}")


def _show_problems(session: Session, found: Mapping[str, Any]) -> None:
    if not found["problems"]:
        return
    out, model = session.out, found["model"]
    out.line("problems")
    for problem in found["problems"]:
        out.line(f"  {problem}")
    good = found["last_good_revision"]
    if good is not None:
        out.line(f"  gateways keep serving the last good form, revision {good}")
    out.line(f"  put the last committed form back with `turnout route rollback {model}`")
