"""`turnout top`: all models at a glance, again each second, with the keyboard to sort and look closer.

One question a second to the control API, however many models there are. What is shown is in `view`.
"""

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from gateway.cli.output import is_coloured
from gateway.cli.progress import nothing_drawn
from gateway.cli.session import Session, operator
from gateway.contract.errors import TurnoutError

EVERY_S = 1.0
ESCAPE_S = 0.05  # after which an escape is no arrow any more
PASSING = frozenset({"unreachable", "store_away"})
_KEYS = {
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left",
    b"\x1bOA": "up", b"\x1bOB": "down", b"\x1bOC": "right", b"\x1bOD": "left",
    b"k": "up", b"j": "down", b"l": "right", b"h": "left",
    b"\r": "enter", b"\n": "enter", b"\x1b": "escape", b"\x7f": "escape",
    b"q": "q", b"Q": "q", b"\x03": "q", b"r": "r",
}  # fmt: skip


@click.command()
@click.option("--once", is_flag=True, help="Print it once and end; with --json for machines.")
@operator
def top(session: Session, once: bool) -> int:
    """All models, live: requests, split, errors, latency, quality, rollout, workers.

    q ends it, up and down choose a model, enter opens it, left and right choose what to sort by.
    """
    if once:
        found = session.client.get("overview")
        session.out.value(found)
        _print(session, found)
        return 0
    if session.out.is_json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise click.UsageError("`turnout top` draws on a terminal; elsewhere: turnout top --once [--json]")
    try:
        return _live(session)
    except KeyboardInterrupt:
        return 0


def _print(session: Session, found: dict[str, Any]) -> None:
    from gateway.cli.top.view import COLUMNS, View, in_order, plain

    session.out.table(
        [column.title + (">" if column.is_right else "") for column in COLUMNS],
        [[plain(column, model) for column in COLUMNS] for model in in_order(found["models"], View())],
        empty="no model is registered yet",
    )


def _live(session: Session) -> int:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from gateway.cli.top.view import View, drawn

    console = Console(no_color=not is_coloured())
    view, seen, asked_s = View(), session.client.get("overview"), time.monotonic()
    ill = ""
    with (
        nothing_drawn(),
        _keyboard() as descriptor,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            picture = drawn(seen, view, width=console.width, height=console.height - bool(ill))
            live.update(Group(Text(ill, style="red"), picture) if ill else picture, refresh=True)
            key = _key(descriptor, within_s=max(0.0, asked_s + EVERY_S - time.monotonic()))
            if key == "q":
                return 0
            view = view.after(key, seen["models"])
            if time.monotonic() - asked_s >= EVERY_S:
                asked_s = time.monotonic()
                try:
                    seen, ill = session.client.get("overview"), ""
                except TurnoutError as error:
                    if error.code not in PASSING:
                        raise
                    ill = f"{error.message}; what follows is what was seen last"


@contextlib.contextmanager
def _keyboard() -> Iterator[int]:
    """Keys come one by one and unseen; the terminal is as before at the end, however that comes."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _key(descriptor: int, *, within_s: float) -> str:
    """The name of the next key; "" where none came in time, or one without a meaning."""
    if not select.select([descriptor], [], [], within_s)[0]:
        return ""
    pressed = os.read(descriptor, 1)
    while (
        pressed.startswith(b"\x1b") and len(pressed) < 3 and select.select([descriptor], [], [], ESCAPE_S)[0]
    ):
        pressed += os.read(descriptor, 1)
    return _KEYS.get(pressed, "" if pressed else "q")
