"""`turnout key`: who may do what."""

import re
from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.grammar import REASON, Noun, changing, reading
from gateway.cli.session import Session, operator, report_applied
from gateway.cli.words import age, moment
from gateway.contract.access import KEY_ID_PATTERN, Role

_DURATION = re.compile(r"([0-9]+)([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
ROLE = click.Choice([role.value for role in Role])


@click.group(cls=Noun)
def key() -> None:
    """Keys: who may do what, on which models, and for how long."""


@key.command()
@click.argument("name")
@click.option("--role", type=ROLE, required=True, help="Each includes those before it.")
@click.option("--models", default="*", show_default=True, metavar="A,B", help="Its scope: names of models.")
@click.option("--expires", metavar="30d", help="Seconds, minutes, hours or days: 90s, 30m, 12h, 30d.")
@click.option("--pin", is_flag=True, help="May choose the version of a prediction.")
@click.option("--rate", type=click.FloatRange(0.01, 1e6), metavar="PER_S", help="Predictions, per gateway.")
@REASON
@changing()
@operator
def create(
    session: Session,
    name: str,
    role: str,
    models: str,
    expires: str | None,
    pin: bool,
    rate: float | None,
    reason: str,
) -> int:
    """Make a key. It is printed once, to standard output.

    The first admin key turns authentication on, for all commands and predictions.
    """
    made = session.client.post(
        "keys",
        body={
            "name": name,
            "role": role,
            "models": [model.strip() for model in models.split(",") if model.strip()],
            "pin": pin,
            "rate_per_s": rate,
            "expires_in_s": None if expires is None else _seconds(expires),
            "reason": reason,
        },
    )
    session.out.value(made)
    session.out.line(made["key"])
    out = session.out
    out.warning(f"this is key {made['key_id']}; it is shown only now: put it where {name} finds it")
    if role == Role.ADMIN:
        out.warning("keys are on from now: every command needs one (export TURNOUT_KEY=...), predictions too")
    _tell_stale(session, made)
    return 0


@key.command("list")
@reading
@operator
def list_keys(session: Session) -> int:
    """Every key, without its secret."""
    found = session.client.get("keys")
    session.out.value(found)
    session.out.table(
        ("id", "name", "role", "models", "may", "expires", "last use", "made by", "made"),
        [_row(item) for item in found["keys"]],
        empty="no key yet: `turnout key create NAME --role admin` makes the first, and turns keys on",
    )
    return 0


@key.command()
@click.argument("key_id", metavar="ID")
@REASON
@changing(asks="End key {key_id} now?")
@operator
def revoke(session: Session, key_id: str, reason: str) -> int:
    """End a key now; returns when every gateway refuses it."""
    if not re.fullmatch(KEY_ID_PATTERN, key_id):
        raise click.UsageError(f"{key_id!r} is no key's id: `turnout key list` shows them")
    done = session.client.delete("keys", key_id, reason=reason)
    session.out.value(done)
    session.out.line(f"key {key_id} ({done['name'] or 'unreadable'}) is revoked")
    return report_applied(session, done["applied"], done["revision"])


@key.command()
@reading
@operator
def whoami(session: Session) -> int:
    """Who this key says you are."""
    found = session.client.get("whoami")
    session.out.value(found)
    if not found["keys_are_on"]:
        session.out.line("keys are off: everybody who reaches this address may do everything")
    else:
        session.out.line(f"{found['name']}: {found['role']} of {', '.join(found['models'])}")
    return 0


@key.command()
@click.argument("name")
@click.option("--redis-url", envvar="TURNOUT_REDIS_URL", required=True, metavar="URL", help="Redis itself.")
def recover(name: str, redis_url: str) -> int:
    """Make an admin key in Redis itself, when no admin key is left.

    Whoever may write to Redis may do everything anyway. `turnout up` keeps its Redis at
    unix://.turnout/redis/redis.sock.
    """
    # It speaks to Redis, which other operator commands must not even be able to.
    from gateway.cli.recover import recover_admin

    click.echo(recover_admin(redis_url, name))
    return 0


def _seconds(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise click.UsageError("--expires: give a number and s, m, h or d, such as 30d")
    return int(found[1]) * _UNIT_S[found[2]]


def _row(item: Mapping[str, Any]) -> tuple[Any, ...]:
    used = age(item["used_ms"]) if item["used_ms"] else "never"
    made = (item["created_by"], moment(item["created_ms"]))
    if "problem" in item:
        return (item["key_id"], item["problem"], "", "", "", "", used, *made)
    rate = [] if item["rate_per_s"] is None else [f"{item['rate_per_s']:g}/s"]
    may = [*(["pin"] if item["pin"] else []), *rate]
    expires = "never" if item["expires_at_ms"] is None else moment(item["expires_at_ms"])
    return (
        item["key_id"], item["name"], item["role"], ", ".join(item["models"]), " ".join(may), expires, used,
        *made,
    )  # fmt: skip


def _tell_stale(session: Session, made: Mapping[str, Any]) -> None:
    applied = made["applied"]
    if not applied["complete"]:
        session.out.warning(f"{applied['gateways']} of {applied['of']} gateways know it already")
