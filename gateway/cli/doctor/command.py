"""`turnout doctor`: what is wrong with an installation, why it matters, and the command that mends it.

The control process looks at what it can see; where it does not answer, this machine tells what it sees.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from gateway.cli.doctor.around import certificate, without_control
from gateway.cli.grammar import reading
from gateway.cli.session import Session, operator
from gateway.contract.errors import TurnoutError

AWAY = frozenset({"unreachable", "store_away"})
ILL = ("critical", "warning")


@click.command()
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
    help="Settings (YAML) that say where Redis and gateways are, where control does not answer.",
)  # fmt: skip
@reading
@operator
def doctor(session: Session, config: Path | None) -> int:
    """What is wrong with this installation, why it matters, and the command that mends it.

    Exit code 0 when all is well (notes do not count), 1 when something is wrong.
    """
    url = session.client.url
    found: dict[str, Any] = {"findings": [], "redis": None}
    try:
        found = session.client.get("doctor")
    except TurnoutError as error:
        if error.code not in AWAY:
            raise
        found["findings"] = list(_away(url, error, config))
    told: list[Mapping[str, Any]] = [*certificate(url), *found["findings"]]
    is_well = not any(item["severity"] in ILL for item in told)
    session.out.value({"ok": is_well, "control": url, "findings": told, "redis": found["redis"]})
    _tell(session, told, is_well=is_well)
    return 0 if is_well else 1


def _away(url: str, error: TurnoutError, config: Path | None) -> Sequence[Mapping[str, Any]]:
    if error.code == "store_away":
        return [
            {
                "severity": "critical",
                "check": "redis_away",
                "what": error.message,
                "why": "Gateways serve their last routes; nothing can be changed, and labels are not taken.",
                "mend": "start Redis again: all processes follow by themselves",
            }
        ]
    return list(without_control(url, error.message, config))


def _tell(session: Session, told: Sequence[Mapping[str, Any]], *, is_well: bool) -> None:
    out, counts = session.out, Counter(item["severity"] for item in told)
    counted = ", ".join(_counted(severity, count) for severity, count in counts.items())
    out.line(f"all is well{f' ({counted})' if counted else ''}" if is_well else f"found: {counted}")
    for (severity, why, mend), alike in groupby(
        told, lambda item: (item["severity"], item["why"], item["mend"])
    ):
        out.line()
        for item in alike:
            out.line(f"{severity.upper():<9} {item['what']}")
        out.line(f"{'':<9} why:  {why}")
        out.line(f"{'':<9} mend: {mend}")


def _counted(severity: str, count: int) -> str:
    """`1 critical, 2 warnings`."""
    return f"{count} {severity}{'s' if count > 1 and severity != 'critical' else ''}"
