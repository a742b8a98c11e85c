"""`turnout alias`: names for versions that move, such as champion."""

import click

from gateway.cli.grammar import REASON, changing, reading
from gateway.cli.session import Session, operator
from gateway.cli.words import age, quoted


@click.group()
def alias() -> None:
    """Names for versions that move, such as champion."""


@alias.command("set")
@click.argument("name", metavar="MODEL")
@click.argument("alias_name", metavar="ALIAS")
@click.argument("version")
@click.option(
    "--expect", type=click.IntRange(min=0), metavar="REVISION", help="Only if the aliases have it still."
)
@REASON
@changing()
@operator
def set_alias(
    session: Session, name: str, alias_name: str, version: str, expect: int | None, reason: str
) -> int:
    """Let an alias mean this version from now on. Routes keep the versions that they have."""
    return _move(session, name, alias_name, version, expect, reason)


@alias.command("rm")
@click.argument("name", metavar="MODEL")
@click.argument("alias_name", metavar="ALIAS")
@click.option(
    "--expect", type=click.IntRange(min=0), metavar="REVISION", help="Only if the aliases have it still."
)
@REASON
@changing(asks="Forget the alias {alias_name} of {name}?")
@operator
def remove(session: Session, name: str, alias_name: str, expect: int | None, reason: str) -> int:
    """Forget an alias."""
    return _move(session, name, alias_name, None, expect, reason)


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
    session: Session, name: str, alias_name: str, version: str | None, expect: int | None, reason: str
) -> int:
    body = {"version": version, "expected_revision": expect, "reason": reason}
    found = session.client.put("models", name, "aliases", alias_name, body=body)
    session.out.value(found)
    if not found["changed"]:
        session.out.line(f"{alias_name} of {name} is so already (revision {found['revision']})")
    else:
        session.out.line(f"{alias_name} of {name} is {version or 'gone'} at revision {found['revision']}")
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
