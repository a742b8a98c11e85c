"""May a version answer, and who still asks it? `turnout model standing|pins|dossier|approve|deprecate` …"""

import json
from datetime import UTC, datetime
from typing import Any

import click

from gateway.cli.grammar import REASON, changing, reading
from gateway.cli.rollout.command import plan_body
from gateway.cli.session import Session, operator
from gateway.cli.words import age, moment

_PLAN = click.option(
    "--plan", metavar="NAME|FILE", help="The plan by which it shall go live: a template or YAML."
)
# Command -> the state that it puts a version into, and what its help says.
_STATES = {
    "validate": ("validated", "Say that a version passed its checks."),
    "reject": ("rejected", "Say that a version must not answer."),
    "retire": ("retired", "Let a version answer no more; its route must not name it."),
    "quarantine": ("quarantined", "Keep a version from any new traffic, at once."),
    "clear": ("registered", "Take a quarantine or a rejection back."),
}


def add_to(model: click.Group) -> None:
    """The commands of this module belong to the noun `model`."""
    for command in (standing, pins, dossier, approve, deprecate):
        model.add_command(command)
    for name, (state, words) in _STATES.items():
        model.add_command(_state_command(name, state, words))


@click.command()
@click.argument("name", metavar="MODEL")
@reading
@operator
def standing(session: Session, name: str) -> int:
    """The state of every version, who approved it, and when it ends."""
    found = session.client.get("models", name, "standings")
    session.out.value(found)
    session.out.table(
        ("version", "state", "since", "by", "approved by", "ends", "successor", "reason"),
        [
            (
                item["version"],
                item["state"],
                age(item["at_ms"]) if item["at_ms"] else "",
                item["by"],
                " ".join(sorted({given["by"] for given in item["approvals"]})),
                (item["sunset_at"] or "")[:10],
                item["successor"] or "",
                item["reason"],
            )
            for item in found["versions"]
        ],
        empty=f"no version of {name} is registered",
    )
    return 0


@click.command()
@click.argument("name", metavar="MODEL")
@click.option("--days", type=click.IntRange(1, 14), default=7, show_default=True, help="Of the last days.")
@reading
@operator
def pins(session: Session, name: str, days: int) -> int:
    """Who still chooses deprecated versions, by key, or by address where keys are off."""
    found = session.client.get("models", name, "pins", days=days)
    session.out.value(found)
    session.out.table(
        ("version", "state", "ends", "caller", "name", "predictions>", "last day"),
        [
            (
                item["version"],
                item["state"],
                (item["sunset_at"] or "")[:10],
                item["caller"],
                item["name"],
                item["predictions"],
                item["last_day"],
            )
            for item in found["pins"]
        ],
        empty=f"nobody pinned a deprecated version of {name} in the last {days} days",
    )
    return 0


@click.command()
@click.argument("name", metavar="MODEL")
@click.argument("version")
@_PLAN
@reading
@operator
def dossier(session: Session, name: str, version: str, plan: str | None) -> int:
    """What an approval of this version would be about, and its hash."""
    found = session.client.post("models", name, "versions", version, "dossier", body=_plan(plan))
    session.out.value(found)
    session.out.line(json.dumps(found["dossier"], indent=2, sort_keys=True))
    session.out.line(f"registered by {found['author']}; state: {found['standing']['state']}")
    session.out.line(f"hash {found['hash']}")
    by = f" --plan {plan}" if plan else ""
    session.out.line(
        f"approve it with: turnout model approve {name} {version}{by} --hash {found['hash'][:12]}"
    )
    return 0


@click.command()
@click.argument("name", metavar="MODEL")
@click.argument("version")
@_PLAN
@click.option(
    "--hash", "seen", required=True, metavar="HASH",
    help="Of the dossier that you saw (`turnout model dossier`): 12 digits or all.",
)  # fmt: skip
@click.option("--note", default="", metavar="TEXT", help="What convinced you; kept in the audit log.")
@changing()
@operator
def approve(session: Session, name: str, version: str, plan: str | None, seen: str, note: str) -> int:
    """Let a version in, for exactly what you saw; never your own."""
    if len(seen) < 12:
        raise click.UsageError("--hash: give at least 12 digits of what `turnout model dossier` shows")
    by = _plan(plan)
    now = session.client.post("models", name, "versions", version, "dossier", body=by)["hash"]
    # A hash that does not fit is sent as it is, so that the refusal comes from where the rule is.
    whole = now if now.startswith(seen) else seen.ljust(64, "0")
    found = session.client.post(
        "models", name, "versions", version, "approve", body={"dossier": whole, "note": note, **by}
    )
    session.out.value(found)
    who = " ".join(sorted({given["by"] for given in found["approvals"]}))
    session.out.line(
        f"{name} {version} is {found['state']} (revision {found['revision']}), approved by {who}"
    )
    return 0


@click.command()
@click.argument("name", metavar="MODEL")
@click.argument("version")
@click.option("--sunset", metavar="DATE", help="When it ends: 2026-12-31. Default: in 30 days.")
@click.option("--successor", metavar="VERSION", help="What its callers should use instead.")
@REASON
@changing()
@operator
def deprecate(
    session: Session, name: str, version: str, sunset: str | None, successor: str | None, reason: str
) -> int:
    """Announce in every reply of a version that it will end."""
    wish = {"state": "deprecated", "reason": reason, "successor": successor, "sunset_at": _day(sunset)}
    found = session.client.post("models", name, "versions", version, "state", body=wish)
    session.out.value(found)
    ends = moment(int(datetime.fromisoformat(found["sunset_at"]).timestamp() * 1000))
    session.out.line(f"{name} {version} is deprecated and ends {ends} (revision {found['revision']})")
    return 0


def _state_command(name: str, state: str, words: str) -> click.Command:
    @click.command(name, help=words)
    @click.argument("model", metavar="MODEL")
    @click.argument("version")
    @click.option("--successor", metavar="VERSION", help="What its callers should use instead.")
    @REASON
    @changing()
    @operator
    def command(session: Session, model: str, version: str, successor: str | None, reason: str) -> int:
        wish = {"state": state, "reason": reason, "successor": successor}
        found = session.client.post("models", model, "versions", version, "state", body=wish)
        session.out.value(found)
        session.out.line(f"{model} {version} is {found['state']} (revision {found['revision']})")
        return 0

    return command


def _plan(text: str | None) -> dict[str, Any]:
    return {} if text is None else plan_body(text)


def _day(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--sunset: {text!r} is not a date like 2026-12-31") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()
