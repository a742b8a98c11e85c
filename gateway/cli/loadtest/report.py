"""How a load test tells its progress and its result: on the terminal, as result.json and as report.html."""

import base64
import io
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gateway.cli.output import Output
from gateway.cli.plots import empty_figure, plot_latencies, plot_rates
from gateway.cli.words import utc
from gateway.core.page import html
from gateway.loadtest.earlier import Change
from gateway.loadtest.report import (
    CHANGE_COLUMNS,
    COLUMNS,
    LATENCY,
    RATES,
    change_rows,
    page,
    rows,
    summary,
)  # fmt: skip

PIPED_EVERY_S = 10.0  # progress into a file or pipe


class Progress:
    """One line on standard error: rewritten on a terminal, every ten seconds elsewhere."""

    def __init__(self, *, is_quiet: bool) -> None:
        self.is_quiet = is_quiet
        self.is_terminal = sys.stderr.isatty()
        self.next_s = time.monotonic()
        self.is_open = False

    def say(self, text: str) -> None:
        if not self.is_quiet:
            click.echo(text, err=True)

    def show(self, found: Mapping[str, Any]) -> None:
        if self.is_quiet or (not self.is_terminal and time.monotonic() < self.next_s):
            return
        self.next_s = time.monotonic() + PIPED_EVERY_S
        text = (
            f"{found['elapsed_s']:.0f} of {found['of_s']:.0f} s: {found['sent']:,} sent, "
            f"{found['answered']:,} answered, {found['failed']:,} failed"
        )
        if found["p50_ms"] is not None:
            text += f"; last second p50 {found['p50_ms']:.3g} ms, p99 {found['p99_ms']:.3g} ms"
        click.echo(f"\r{text:<100}" if self.is_terminal else text, nl=not self.is_terminal, err=True)
        self.is_open = self.is_terminal

    def end(self) -> None:
        if self.is_open:
            click.echo(err=True)


def show(out: Output, found: Mapping[str, Any], changes: Sequence[Change], *, is_quiet: bool) -> None:
    out.value({**found, "changes": [_change(change) for change in changes]})
    if is_quiet:
        return
    for line in summary(found):
        out.line(line)
    out.table(COLUMNS, rows(found), empty="no version answered")
    if changes:
        out.table(CHANGE_COLUMNS, change_rows(changes))
    for warning in found["warnings"]:
        out.warning(warning)


def write(folder: Path, found: Mapping[str, Any], changes: Sequence[Change]) -> None:
    told = {**found, "changes": [_change(change) for change in changes]}
    built = page(
        found,
        when=utc(found["at_ms"]),
        verdicts=[
            ("FAILED " if threshold["is_failed"] else "passed ") + threshold["sentence"]
            for threshold in found["thresholds"]
        ],
        changes=changes,
    )
    try:
        (folder / "result.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        (folder / "report.html").write_text(html(built, _pictures(found["series"])))
    except OSError as error:
        raise click.UsageError(f"{folder}: {error.strerror}") from None


def _pictures(series: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """By the title of their section, as data: URLs; none without matplotlib."""
    drawings: dict[str, Callable[[Any, Any], Any]] = {RATES: plot_rates, LATENCY: plot_latencies}
    found = {}
    for title, draw in drawings.items():
        figure = empty_figure()
        if figure is None:
            return {}
        drawn = io.BytesIO()
        draw(series, figure).savefig(drawn, format="svg")
        found[title] = "data:image/svg+xml;base64," + base64.b64encode(drawn.getvalue()).decode()
    return found


def _change(change: Change) -> dict[str, Any]:
    return {
        "what": change.what,
        "version": change.version,
        "before": change.before,
        "now": change.now,
        "is_certain": change.is_certain,
    }
