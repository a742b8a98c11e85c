"""How commands print: JSON for programs, tables for people, plain columns where nobody looks.

A table goes through rich on a terminal; into a pipe or file it is aligned text without borders or colours,
and so it is on a terminal without colours where NO_COLOR is set. Results go to stdout, warnings and errors to
stderr; inside `frame` all of it is collected, for `--watch`.
"""

import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import click

from gateway.contract.errors import TurnoutError

FOLDED = 20  # columns of a terminal: what is wider is folded where there is no room
LAST = 8  # what the last column is folded to at most
GAP = 2
_FRAME: ContextVar[io.StringIO | None] = ContextVar("frame", default=None)


@contextmanager
def frame() -> Iterator[io.StringIO]:
    """What is printed within goes there."""
    collected = io.StringIO()
    token = _FRAME.set(collected)
    try:
        yield collected
    finally:
        _FRAME.reset(token)


def is_coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


class Output:
    """`is_json`: exactly one JSON value goes to stdout, and no words."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json

    def value(self, value: Mapping[str, Any]) -> None:
        """What a program reads; nothing unless JSON is wanted."""
        if self.is_json:  # when watched, one value a line
            indent = 2 if _FRAME.get() is None else None
            _echo(json.dumps(value, indent=indent, ensure_ascii=False))

    def line(self, text: str = "") -> None:
        if not self.is_json:
            _echo(text)

    def dry_run(self, would: str) -> None:
        """The one way in which every command says that it only tried."""
        self.line(f"dry run, nothing was changed: {would}")

    def warning(self, text: str) -> None:
        if not self.is_json:
            _echo(f"warning: {text}", err=True)

    def failure(self, text: str) -> None:
        """Why the exit code is not 0, where the value does not say so already."""
        if not self.is_json:
            _echo(f"turnout: {text}", err=True)

    def advise(self, *steps: tuple[str, str]) -> None:
        """What may be typed next, each with what for: to somebody who looks, so into no pipe or file."""
        if self.is_json or _FRAME.get() is not None or not (sys.stdout.isatty() and sys.stderr.isatty()):
            return
        for what_for, command in steps:
            _echo(f"{what_for:<10} {command}", err=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str = "nothing") -> None:
        """A column whose name ends in `>` is aligned to the right.

        On a terminal long texts are folded; where even so it does not fit, each cell gets a line.
        """
        if self.is_json:
            return
        texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
        if not texts:
            _echo(empty)
        elif sys.stdout.isatty():
            _rich(columns, texts)
        else:
            _plain(columns, texts)

    def error(self, error: TurnoutError) -> None:
        """One or two lines that say what to do, then each problem with its path."""
        if self.is_json:
            self.value({**error.data, "error": error.message, "code": error.code})
            return
        _echo(f"turnout: {error.message}", err=True)
        problems = error.data.get("problems", ())
        if len(problems) > 1 or (problems and problems[0] not in error.message):
            for problem in problems:
                _echo(f"  {problem}", err=True)
        for change in error.data.get("changes", ()):
            _echo(f"  {change}", err=True)


def _echo(text: str, *, err: bool = False) -> None:
    collected = _FRAME.get()
    if collected is None:
        click.echo(text, err=err)
    else:
        collected.write(text + "\n")


def _plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [[name.rstrip(">").upper() for name in columns], *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if name.endswith(">") else cell.ljust(width)
            for cell, width, name in zip(line, widths, columns, strict=True)
        ]
        _echo("  ".join(cells).rstrip())


def _rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    collected = _FRAME.get()
    forced = None if collected is None else True  # a frame ends up on the terminal
    console = Console(file=collected, force_terminal=forced, no_color=not is_coloured())
    widths = [
        max(map(len, cells)) for cells in zip([name.rstrip(">") for name in columns], *rows, strict=True)
    ]
    folds = [
        index == len(columns) - 1 or (width > FOLDED and not name.endswith(">"))
        for index, (name, width) in enumerate(zip(columns, widths, strict=True))
    ]
    least = sum(
        min(width, FOLDED) if fold else width for width, fold in zip(widths[:-1], folds, strict=False)
    )
    least += min(widths[-1], LAST)
    if least + GAP * (len(columns) - 1) > console.width:
        _records(columns, rows)
        return
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for name, fold in zip(columns, folds, strict=True):
        justify: Literal["left", "right"] = "right" if name.endswith(">") else "left"
        table.add_column(name.rstrip(">"), justify=justify, overflow="fold", no_wrap=not fold)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _records(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """One line a cell: a number that lost its last digit would be a lie."""
    names = [name.rstrip(">") for name in columns]
    width = max(map(len, names))
    for number, row in enumerate(rows):
        if number:
            _echo("")
        for name, cell in zip(names, row, strict=True):
            if cell:
                _echo(f"{name:<{width}}  {cell}")
