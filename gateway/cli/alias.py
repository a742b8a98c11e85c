"""`turnout alias`: names for versions that move, such as champion."""

from typing import Any

import click

from gateway.cli.grammar import DRY_RUN, REASON, YES, Noun, changes_itself, confirm, reading
from gateway.cli.session import Session, operator
from gateway.cli.words import age, follow_words, quoted


@click.group(cls=Noun)
def alias() -> None:
    """Names for versions that move, such as champion."""


_EXPECT = click.option(
    "--expect", type=click.IntRange(min=0), metavar="REVISION", help="Only if the aliases have it still."
)


@alias.command("set")
@click.argument("name", metavar="MODEL")
@click.argument("alias_name", metavar="ALIAS")
@click.argument("version")
@_EXPECT
@REASON
@DRY_RUN
@click.option("--force", is_flag=True, help="Against policy, in an emergency; needs --reason.")
@changes_itself
@operator
def set_alias(session: Session, name: str, alias_name: str, version: str, **how: Any) -> int:
    """Let an alias mean this version from now on, as policy allows.

    A route that follows the alias (`turnout route follow`) is moved after it; others keep their versions.
    """
    return _move(session, name, alias_name, version, **how)


@alias.command("rm")
@click.argument("name", metavar="MODEL")
@click.argument("alias_name", metavar="ALIAS")
@_EXPECT
@REASON
@DRY_RUN
@YES
@changes_itself
@operator
def remove(session: Session, name: str, alias_name: str, yes: bool, dry_run: bool, **how: Any) -> int:
    """Forget an alias. Traffic of a route that follows it stays as it is."""
    if not (yes or dry_run):
        confirm(f"Forget the alias {alias_name} of {name}?")
    return _move(session, name, alias_name, None, dry_run=dry_run, **how)


@alias.command("list")
@click.argument("name", metavar="MODEL")
@reading
@operator
def list_aliases(session: Session, name: str) -> int:
    """The aliases of a model."""
    found = session.client.get("models", name, "aliases")
    session.out.value(found)
    session.out.table(("alias", "version"), sorted(found["aliases"].items()), empty=f"{name} has no alias")
    return 0


@alias.command()
@click.argument("name", metavar="MODEL")
@reading
@operator
def show(session: Session, name: str) -> int:
    """What each alias means since when, who follows it, and what became of its last move."""
    found = session.client.get("models", name, "aliases")
    session.out.value(found)
    for alias_name, version in sorted(found["aliases"].items()):
        moved = found["moved"].get(alias_name)
        since = (
            f", since revision {moved['revision']} by {moved['author']}, {age(moved['at_ms'])}"
            f"{quoted(moved['reason'])}"
            if moved
            else ""
        )
        session.out.line(f"{alias_name} is {version}{since}")
    if not found["aliases"]:
        session.out.line(f"{name} has no alias")
    if found["following"] is not None:
        session.out.line(f"the route follows {follow_words(found['following'])}")
    else:
        session.out.line(f"its route follows none: `turnout route follow {name} ALIAS --plan NAME`")
    return 0


@alias.command()
@click.argument("name", metavar="MODEL")
@reading
@operator
def history(session: Session, name: str) -> int:
    """How the aliases of a model moved, newest first."""
    found = session.client.get("models", name, "aliases", "history")
    session.out.value(found)
    for item in found["history"]:
        session.out.line(
            f"{item['revision']}  {item['author']}, {age(item['at_ms'])}{quoted(item['reason'])}"
        )
    return 0


def _move(
    session: Session,
    name: str,
    alias_name: str,
    version: str | None,
    *,
    expect: int | None,
    reason: str,
    dry_run: bool,
    force: bool = False,
) -> int:
    body = {
        "version": version, "expected_revision": expect, "reason": reason, "dry_run": dry_run, "force": force,
    }  # fmt: skip
    found = session.client.put("models", name, "aliases", alias_name, body=body)
    session.out.value(found)
    if not found["changed"]:
        session.out.line(f"{alias_name} of {name} is so already (revision {found['revision']})")
    elif dry_run:
        session.out.dry_run(f"{alias_name} of {name} would be {version or 'gone'}")
    else:
        session.out.line(f"{alias_name} of {name} is {version or 'gone'} at revision {found['revision']}")
    for warning in found["warnings"]:
        session.out.warning(warning)
    return 0


def resolve_aliases(session: Session, model: str, weights: tuple[str, ...]) -> tuple[str, ...]:
    """`@champion=90` becomes `2=90`, once, now."""
    if not any(weight.startswith("@") for weight in weights):
        return weights
    known = session.client.get("models", model, "aliases")["aliases"]
    resolved = []
    for weight in weights:
        name, equals, percent = weight.removeprefix("@").partition("=")
        if not weight.startswith("@"):
            resolved.append(weight)
        elif name in known:
            resolved.append(f"{known[name]}{equals}{percent}")
        else:
            raise click.UsageError(
                f"{model} has no alias {name} (it has: {', '.join(sorted(known)) or 'none'})"
            )
    return tuple(resolved)
