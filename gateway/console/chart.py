"""The quality of versions over time as confidence sequences: each a line in the band that holds the truth.

The bands may be read at every moment: with the promised probability the truth lies inside all along. Drawn as
an SVG that stretches; all words are HTML beside it. `plan_chart` is pure; pages call `show_chart`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from gateway.console.pieces import Moment, colour, text
from gateway.console.words import interval, percent

PAD = 0.15  # of the range, above and below
STEPS = 120  # points that a chart asks for at most


@dataclass(frozen=True, slots=True)
class Curve:
    """`band` and `line` are points of a picture of 100 x 100, as SVG has them; `now`: the newest in words."""

    version: str
    band: str
    line: str
    now: str


@dataclass(frozen=True, slots=True)
class Chart:
    metric: str
    low: float
    high: float
    from_ms: int
    to_ms: int
    curves: tuple[Curve, ...]


def step_s(since_s: int) -> int:
    """Seconds between points, in whole minutes."""
    return max(60, since_s // STEPS // 60 * 60)


def plan_chart(series: Sequence[Mapping[str, Any]], versions: Sequence[str]) -> Chart | None:
    """`series` as the control API tells it; None where no label has come."""
    lines = [
        (line, points)
        for line in series
        if line["version"] in versions and (points := [p for p in line["points"] if p["value"] is not None])
    ]
    if not lines:
        return None
    metric = lines[0][0]["metric"]
    lines = [(line, points) for line, points in lines if line["metric"] == metric]
    times = [point["at_ms"] for _, points in lines for point in points]
    low, high = _range([points for _, points in lines], is_share=metric == "accuracy")
    frame = _Frame(min(times), max(times), low, high)
    return Chart(
        metric, low, high, frame.from_ms, frame.to_ms,
        tuple(_curve(line["version"], metric, points, frame) for line, points in lines),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Frame:
    from_ms: int
    to_ms: int
    low: float
    high: float

    def at(self, at_ms: float, value: float) -> str:
        x = 100 * (at_ms - self.from_ms) / max(1, self.to_ms - self.from_ms)
        y = 100 - 100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return f"{x:.2f},{y:.2f}"


def _range(lines: Sequence[Sequence[Mapping[str, Any]]], *, is_share: bool) -> tuple[float, float]:
    """Around all values and the newest bands: the wide bands of the first labels may run out of it."""
    seen = [point["value"] for points in lines for point in points]
    seen += [end for points in lines for end in (points[-1]["low"], points[-1]["high"]) if end is not None]
    low, high = min(seen), max(seen)
    pad = PAD * (high - low) or 0.01
    low, high = low - pad, high + pad
    return (max(0.0, low), min(1.0, high)) if is_share else (low, high)


def _curve(version: str, metric: str, points: Sequence[Mapping[str, Any]], frame: _Frame) -> Curve:
    times = [point["at_ms"] for point in points]
    if len(points) == 1:  # its line would be a dot
        points, times = [points[0], points[0]], [frame.from_ms, max(frame.to_ms, frame.from_ms + 1)]

    def along(name: str, instead: float) -> list[str]:
        ends = [instead if point[name] is None else point[name] for point in points]
        return [frame.at(at_ms, end) for at_ms, end in zip(times, ends, strict=True)]

    band = [*along("high", frame.high), *reversed(along("low", frame.low))]
    newest = interval(metric, points[-1])
    return Curve(version, " ".join(band), " ".join(along("value", 0.0)), newest)


def show_chart(chart: Chart | None, versions: Sequence[str]) -> None:
    """`versions`: all of the model, for their colours."""
    if chart is None:
        text("No label has come in this time, so quality is not known.", "soft", "p")
        return
    told = "; ".join(f"version {curve.version} {curve.now}" for curve in chart.curves)
    with ui.element("figure").classes("chart") as figure:
        figure._props.update({"role": "img", "aria-label": f"{chart.metric} over time: {told}"})
        with ui.element("div").classes("scale"):
            for value in (chart.high, chart.low):
                text(percent(value) if chart.metric == "accuracy" else f"{value:.4g}")
        with ui.element("svg") as picture:
            picture._props.update({"viewBox": "0 0 100 100", "preserveAspectRatio": "none"})
            for kind in ("band", "line"):
                for curve in chart.curves:
                    _shape(kind, curve, colour(versions, curve.version))
        with ui.element("div").classes("times"):
            for at_ms in (chart.from_ms, chart.to_ms):
                Moment(at_ms)
    with ui.element("div").classes("legend"):
        for curve in chart.curves:
            text(f"Version {curve.version}: {chart.metric} {curve.now}", colour(versions, curve.version))


def _shape(kind: str, curve: Curve, colour_name: str) -> None:
    shape = ui.element("polygon" if kind == "band" else "polyline").classes(f"{kind} {colour_name}")
    shape._props["points"] = getattr(curve, kind)
