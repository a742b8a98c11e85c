"""The picture of a model's traffic: from clients over lanes as broad as their share to versions and shadows.

The lanes are an SVG that stretches; all words are HTML beside it, so that it reads well at every width and to
a screen reader. Called by the model's page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nicegui import ui
from nicegui.element import Element

from gateway.console.pieces import colour, say, text
from gateway.console.words import NOTHING, failures, interval, metric_of, milliseconds, percent, rate

UNIT = 100.0  # of the SVG, the height of one row
THIN = 2.0  # of a lane with next to no traffic


@dataclass(frozen=True, slots=True)
class Row:
    """One version in one role; `share` of the clients' requests as the route says (percent)."""

    version: str
    role: str
    share: float
    pool: str
    is_well: bool


@dataclass(slots=True)
class _Lane:
    value: Element
    facts: dict[str, Element] = field(default_factory=dict)


class Flow:
    """Built for these rows; `update` fills in what is measured."""

    def __init__(self, rows: Sequence[Row], versions: Sequence[str]) -> None:
        self._rows = rows
        self._lanes: dict[tuple[str, str], _Lane] = {}
        with ui.element("div").classes("flow"):
            with ui.element("div").classes("clients"):
                text("Clients", "soft")
                self._total = text(NOTHING, "value")
                text("requests", "soft")
            self._draw_lanes(versions)
            with ui.element("div").classes("lanes"):
                for row in rows:
                    self._row(row, versions)

    def update(self, rates: Mapping[tuple[str, str], float], total: float, scores: Mapping[Any, Any]) -> None:
        say(self._total, rate(total))
        for row in self._rows:
            key = (row.role, row.version)
            lane = self._lanes[key]
            say(lane.value, rate(rates.get(key, 0.0)))
            for name, words in _facts(scores.get(key)).items():
                if name in lane.facts:
                    say(lane.facts[name], words)

    def _draw_lanes(self, versions: Sequence[str]) -> None:
        height = UNIT * len(self._rows)
        with ui.element("svg") as picture:
            picture._props["viewBox"] = f"0 0 100 {height:g}"
            picture._props["preserveAspectRatio"] = "none"
            picture._props["aria-hidden"] = "true"
            for index, (row, (top, bottom)) in enumerate(zip(self._rows, _ends(self._rows), strict=True)):
                half = max(THIN, row.share * UNIT * 0.008) / 2
                middle = (index + 0.5) * UNIT
                path = ui.element("path").classes(f"{colour(versions, row.version)} {row.role}")
                path._props["d"] = (
                    f"M0 {top:.1f} C50 {top:.1f} 50 {middle - half:.1f} 100 {middle - half:.1f} "
                    f"L100 {middle + half:.1f} C50 {middle + half:.1f} 50 {bottom:.1f} 0 {bottom:.1f} Z"
                )

    def _row(self, row: Row, versions: Sequence[str]) -> None:
        with ui.element("article").classes(f"lane {colour(versions, row.version)}") as box:
            box._props["aria-label"] = f"Version {row.version}, {row.role}"
            with ui.element("div").classes("title"):
                text(f"Version {row.version}", "", "h3")
                text(_role(row), f"badge {'' if row.role == 'primary' else 'warn'}")
                lane = _Lane(text(NOTHING, "value"))
                text(row.pool, f"badge {'good' if row.is_well else 'bad'}")
            with ui.element("dl").classes("metrics"):
                for name in _facts(None):
                    with ui.element("div").classes("long" if name == "Quality" else ""):
                        text(name, "", "dt")
                        lane.facts[name] = text(NOTHING, "", "dd")
        self._lanes[row.role, row.version] = lane


def _role(row: Row) -> str:
    return f"answers {row.share:.6g} %" if row.role == "primary" else f"shadow of {row.share:.6g} %"


def _facts(score: Mapping[str, Any] | None) -> dict[str, str]:
    """What is said of one version in one role. Names are the same for every version."""
    if score is None:
        return dict.fromkeys(("p50", "p99", "Errors", "Quality", "Labels"), NOTHING)
    metric = metric_of(score)
    quality = NOTHING if metric is None else f"{metric} {interval(metric, score[metric])}"
    return {
        "p50": milliseconds(score["latency"], "p50_us"),
        "p99": milliseconds(score["latency"], "p99_us"),
        "Errors": failures(score),
        "Quality": quality,
        "Labels": f"{score['labels']} ({percent(score['coverage'], 0)})",
    }


def _ends(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Where each lane begins at the clients: one under the other, around the middle; copies lie on top."""
    height = UNIT * len(rows)
    whole = min(height * 0.8, UNIT * 1.6)
    top = (height - whole) / 2
    found = []
    for row in rows:
        breadth = max(THIN, whole * row.share / 100)
        if row.role == "primary":
            found.append((top, top + breadth))
            top += whole * row.share / 100
        else:
            begin = (height - breadth) / 2
            found.append((begin, begin + breadth))
    return found
