"""Pictures of rollouts, of versions' accuracy and of load tests: PNG or SVG by the file's suffix.

matplotlib is loaded only when a picture is asked for; it is the optional extra `plots`.
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
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


def plot_rates(series: Sequence[Mapping[str, Any]], figure: Any) -> Any:
    """A load test's requests a second: asked for, sent and failed, drawn into this figure."""
    axes = figure.add_subplot()
    series = _until_its_end(series)
    times = [point["at_s"] for point in series]
    if series and series[0]["intended"] is not None:
        asked = [point["intended"] for point in series]
        axes.step(times, asked, where="post", color="tab:gray", linestyle="--", label="asked for")
    axes.step(times, [point["sent"] for point in series], where="post", color="tab:blue", label="sent")
    axes.step(times, [point["failed"] for point in series], where="post", color="tab:red", label="failed")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("requests a second")
    axes.set_xlabel("seconds from the start")
    axes.legend()
    return figure


def _until_its_end(series: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The last step again at its end: a step is drawn up to the next point."""
    if len(series) < 2:
        return series
    last, before = series[-1], series[-2]
    return [*series, {**last, "at_s": 2 * last["at_s"] - before["at_s"]}]


def plot_latencies(series: Sequence[Mapping[str, Any]], figure: Any) -> Any:
    """A load test's latency by the time at which requests were due, drawn into this figure."""
    axes = figure.add_subplot()
    for name, colour in (("p50", "tab:blue"), ("p99", "tab:orange"), ("max", "tab:red")):
        known = [(point["at_s"], point[f"{name}_ms"]) for point in series if point[f"{name}_ms"] is not None]
        axes.plot([at_s for at_s, _ in known], [ms for _, ms in known], color=colour, label=name)
    if highest := [point["max_ms"] for point in series if point["max_ms"]]:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        lowest = min(point["p50_ms"] for point in series if point["p50_ms"])
        axes.yaxis.set_minor_formatter("{x:g}" if max(highest) < 20 * lowest else "")
    axes.set_ylabel("milliseconds")
    axes.set_xlabel("seconds from the start")
    axes.legend()
    return figure


def plot_versions(
    title: str, panels: Sequence[tuple[str, Mapping[str, Sequence[float]]]], file: Path
) -> None:
    """One panel for each measure: a version's value in every round, and the median as a line."""
    figure = _figure(file)
    for number, (name, values) in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), number)
        for place, (version, rounds) in enumerate(values.items()):
            (drawn,) = axes.plot([place] * len(rounds), rounds, "o", alpha=0.5, label=version)
            if rounds:
                axes.hlines(median(rounds), place - 0.3, place + 0.3, color=drawn.get_color())
        axes.set_xticks(range(len(values)), [f"version {version}" for version in values], rotation=30)
        axes.set_ylim(bottom=0)
        axes.set_title(name, fontsize=9)
    figure.suptitle(title)
    figure.savefig(file)


def empty_figure() -> Any:
    """For a picture that goes into a report; None without the library."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    return Figure(figsize=(10, 4), layout="constrained")


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
