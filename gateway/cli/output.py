"""How commands print: JSON for programs, tables for people, plain columns where nobody looks.

A table goes through rich on a terminal; into a pipe or file it is aligned text without borders or colours.
Results go to stdout, warnings and errors to stderr.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from gateway.contract.errors import TurnoutError


class Output:
    """`is_json`: exactly one JSON value goes to stdout, and no words."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json

    def value(self, value: Mapping[str, Any]) -> None:
        """What a program reads; nothing unless JSON is wanted."""
        if self.is_json:
            click.echo(json.dumps(value, indent=2, ensure_ascii=False))

    def line(self, text: str = "") -> None:
        if not self.is_json:
            click.echo(text)

    def warning(self, text: str) -> None:
        if not self.is_json:
            click.echo(f"warning: {text}", err=True)

    def failure(self, text: str) -> None:
        """Why the exit code is not 0, where the value does not say so already."""
        if not self.is_json:
            click.echo(f"turnout: {text}", err=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str = "nothing") -> None:
        """A column whose name ends in `>` is aligned to the right; only the last one may be folded."""
        if self.is_json:
            return
        texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
        if not texts:
            click.echo(empty)
        elif sys.stdout.isatty():
            _rich(columns, texts)
        else:
            _plain(columns, texts)

    def error(self, error: TurnoutError) -> None:
        """One or two lines that say what to do, then each problem with its path."""
        if self.is_json:
            self.value({**error.data, "error": error.message, "code": error.code})
            return
        click.echo(f"turnout: {error.message}", err=True)
        problems = error.data.get("problems", ())
        if len(problems) > 1 or (problems and problems[0] not in error.message):
            for problem in problems:
                click.echo(f"  {problem}", err=True)
        for change in error.data.get("changes", ()):
            click.echo(f"  {change}", err=True)


def _plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [[name.rstrip(">").upper() for name in columns], *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if name.endswith(">") else cell.ljust(width)
            for cell, width, name in zip(line, widths, columns, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, name in enumerate(columns):
        table.add_column(
            name.rstrip(">"),
            justify="right" if name.endswith(">") else "left",
            overflow="fold",
            no_wrap=index < len(columns) - 1,
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
