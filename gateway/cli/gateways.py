"""`turnout gateways`: which gateway processes there are, and the revision each serves."""

import time

import click

from gateway.cli.grammar import reading
from gateway.cli.session import Session, operator
from gateway.cli.words import duration


@click.command()
@reading
@operator
def gateways(session: Session) -> int:
    """Gateway processes and the revision they serve."""
    found = session.client.get("gateways")
    session.out.value(found)
    now_ms = time.time() * 1000
    session.out.table(
        ("gateway", "address", "pid>", "revision>", "state", "up"),
        [
            (
                gateway["gateway_id"],
                gateway["address"],
                gateway["pid"],
                gateway["revision"],
                _state(gateway["is_behind"], gateway["problems"], found["revision"]),
                duration(max(0.0, now_ms - gateway["started_ms"]) / 1000),
            )
            for gateway in found["gateways"]
        ],
        empty="no gateway is running: start one with `turnout gateway`",
    )
    return 0


def _state(is_behind: bool, problems: int, newest: int) -> str:
    if is_behind:
        return f"behind: the newest revision is {newest}"
    return f"{problems} documents cannot be read" if problems else "up to date"
