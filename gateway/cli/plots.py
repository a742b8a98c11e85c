"""Pictures of a rollout and of versions' accuracy, for reports: PNG or SVG by the file's suffix.

matplotlib is loaded only when a picture is asked for; it is the optional extra `plots`.
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gateway.core.report import Report

SUFFIXES = (".png", ".svg")
_COLOURS = {
    "succeeded": "tab:green", "promoted": "tab:green", "advanced": "tab:blue", "entered": "tab:blue",
    "failed": "tab:red", "rolled_back": "tab:red", "frozen": "tab:red", "aborted": "tab:red",
}  # fmt: skip
_WORDS = 70  # of a sentence in a picture


def plot_rollout(found: Mapping[str, Any], file: Path) -> None:
    """The candidate's weight over time as steps, each event with its sentence."""
    figure = _figure(file)
    axes = figure.add_subplot()
    points = list(weights(found))
    times = [_time(at_ms) for at_ms, _ in points]
    axes.step(times, [weight for _, weight in points], where="post", color="tab:blue", linewidth=2)
    for event in found["events"]:
        colour = _COLOURS.get(event["what"], "tab:gray")
        axes.axvline(_time(event["at_ms"]), color=colour, linestyle=":", linewidth=1)
        axes.annotate(
            f"{event['what'].replace('_', ' ')}: {event['sentence']}"[:_WORDS],
            (_time(event["at_ms"]), 2),
            rotation=90,
            fontsize=6,
            verticalalignment="bottom",
            color=colour,
        )
    axes.set_ylim(0, 105)
    axes.set_ylabel(f"percent answered by version {found['candidate']}")
    axes.set_title(f"{found['model']}: {found['baseline']} -> {found['candidate']}, {found['phase']}")
    figure.autofmt_xdate()
    figure.savefig(file)


def weights(found: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
    """(time, percent) at each event: what the step that was reached gives the candidate."""
    weight = 0.0
    for event in found["events"]:
        if event["what"] in ("rolled_back", "aborted"):
            weight = 0.0
        elif event["step"] < len(found["steps"]):
            step = found["steps"][event["step"]]
            if event["what"] == "cutover":
                weight = 100.0
            elif step["weight"] is not None:
                weight = step["weight"]
        yield event["at_ms"], weight


def plot_series(model: str, series: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Accuracy over time per version, with what its confidence sequence still allows."""
    figure = _figure(file)
    axes = figure.add_subplot()
    for line in series:
        points = [point for point in line["points"] if point["value"] is not None]
        times = [_time(point["at_ms"]) for point in points]
        (drawn,) = axes.plot(times, [point["value"] for point in points], label=f"version {line['version']}")
        lows, highs = [point["low"] for point in points], [point["high"] for point in points]
        axes.fill_between(times, lows, highs, alpha=0.2, color=drawn.get_color())
    axes.set_ylabel("accuracy")
    axes.set_title(f"{model}: accuracy, and where it is with 95 % confidence at every moment")
    axes.legend()
    figure.autofmt_xdate()
    figure.savefig(file)


def plot_shares(report: Report, figure: Any) -> Any:
    """Each version's percent of the split over the report's time, drawn into this figure."""
    axes = figure.add_subplot()
    begins, ends = report.since_ms, report.until_ms
    for version in sorted({version for form in report.live for version, _ in form.shares}):
        points = [(max(form.at_ms, begins), dict(form.shares).get(version, 0.0)) for form in report.live]
        points.append((ends, points[-1][1]))
        times = [_utc(at_ms) for at_ms, _ in points]
        axes.step(times, [share for _, share in points], where="post", label=f"version {version}")
    axes.set_xlim(_utc(begins), _utc(ends))
    axes.set_ylim(0, 105)
    axes.set_ylabel("percent of the split")
    axes.set_xlabel("UTC")
    if report.live:
        axes.legend()
    figure.autofmt_xdate()
    return figure


def _figure(file: Path) -> Any:
    """An empty picture; wrong use where the suffix or the library is missing."""
    if file.suffix.lower() not in SUFFIXES:
        raise click.UsageError(f"{file}: a picture's name ends in {' or '.join(SUFFIXES)}")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise click.UsageError(
            "pictures need matplotlib: install it with `pip install 'turnout[plots]'`"
        ) from None
    return Figure(figsize=(10, 5), layout="constrained", dpi=120)


def _time(at_ms: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at_ms / 1000)


def _utc(at_ms: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
