"""`turnout status`: is everything well, and if not, what is to be done?

Written for somebody who was woken: the verdict first, then what is wrong, then whether clients feel it, then
what was changed last.
"""

from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.grammar import reading
from gateway.cli.session import Session, operator
from gateway.cli.words import age, quoted

FAILING_SHOWN = 5


@click.command()
@reading
@operator
def status(session: Session) -> int:
    """Is everything well, and if not, what is to be done? Exit code 1 if something is wrong."""
    found = session.client.get("status")
    out, problems = session.out, found["problems"]
    out.value(found)
    count = len(problems)
    out.line("all is well" if not problems else f"{count} problem{'s' if count > 1 else ''}:")
    for problem in problems:
        out.line(f"  ! {problem}")
    if problems:
        out.line("  `turnout doctor` says why each matters, and what mends it")
    out.line()
    for name, text in _lines(found):
        out.line(f"{name:<10} {text}")
    return 1 if problems else 0


def _lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    behind, revision = found["gateways_behind"], found["revision"]
    told = f"{behind} behind revision {revision}" if behind else f"all at revision {revision}"
    gateways = f"{found['gateways']}, {told}" if found["gateways"] else "none"
    lines = [("traffic", _traffic(found["traffic"]))]
    lines += [("failing", _failing(item)) for item in found["traffic"]["failing"][:FAILING_SHOWN]]
    if refused := found["refused"]:
        codes = ", ".join(f"{code} {count}" for code, count in refused.items())
        lines.append(("refused", f"{sum(refused.values())} in the last minute ({codes})"))
    lines += [
        ("gateways", gateways),
        ("workers", f"{found['workers_ready']} of {found['workers_wanted']} ready"),
        ("models", f"{found['models']}, {found['routes']} with a route (`turnout route list`)"),
        ("rollouts", f"{found['rollouts']} going on" if found["rollouts"] else "none"),
        ("redis", found["redis"]),
        ("changed", _changed(found["last_change"])),
    ]
    return lines


def _traffic(traffic: Mapping[str, Any]) -> str:
    if not traffic["requests"]:
        return "no requests in the last two minutes"
    share = traffic["failed"] / traffic["requests"]
    return f"{traffic['per_s']:.1f} requests/s; {share:.1%} failed of the last {traffic['requests']}"


def _failing(item: Mapping[str, Any]) -> str:
    codes = ", ".join(f"{code} {count}" for code, count in item["errors"].items())
    return f"{item['model']} {item['version']}: {item['failed']} of {item['requests']} ({codes})"


def _changed(change: Mapping[str, Any] | None) -> str:
    if change is None:
        return "never"
    fields = ", ".join(item["field"] for item in change["changes"][:3])
    who = f"by {change['author']}, {age(change['at_ms'])}{quoted(change['reason'])}"
    return f"{fields} {who} (`turnout audit show {change['revision']}`)"
