"""Two versions side by side: the verdict, numbers with how sure they are, classes, agreement."""

from typing import Any

from nicegui import ui

from gateway.console.api import path_of
from gateway.console.chart import Chart, plan_chart, show_chart, step_s
from gateway.console.look import frame
from gateway.console.pages.evidence import show_confusion, show_disagreements, show_slices
from gateway.console.pieces import Section, card, command_line, empty, heading, link, set_command, table, text
from gateway.console.place import Place, Watch, session_of_page
from gateway.console.words import (
    METRICS,
    NOTHING,
    command,
    failures,
    interval,
    milliseconds,
    percent,
)

WINDOWS = {900: "15 minutes", 3600: "1 hour", 86_400: "1 day", 7 * 86_400: "7 days"}
_WORDS = {900: "15m", 3600: "1h", 86_400: "1d", 7 * 86_400: "7d"}
_EVERY_S = {900: 2.0, 3600: 3.0, 86_400: 30.0, 7 * 86_400: 120.0}


def install(place: Place) -> None:
    @ui.page("/models/{model}/compare")
    async def show(model: str) -> None:
        await _Compare(Watch(place, session_of_page()), model).build()


class _Compare:
    def __init__(self, watch: Watch, model: str) -> None:
        self._watch, self._model = watch, model
        self._path = path_of("models", model, "compare")
        self._since_s = 3600
        self._pair: list[str] = []
        self._names: list[str] = []

    async def build(self) -> None:
        known = await self._watch.first(path_of("models", self._model), every_s=10.0)
        names = [version["version"] for version in known.data["versions"]] if known.data else []
        self._names = names
        everything = await self._watch.first(self._path, every_s=30.0, since_s=self._since_s)
        route = await self._watch.first(path_of("routes", self._model), every_s=30.0)
        self._pair = first_pair(names, everything.data, route.data)
        with frame(f"{self._model} compared", "/") as self._banner:
            with ui.element("div").classes("head"):
                heading(f"{self._model} compared", 1)
                ui.element("span").classes("grow")
                link("Back to the model", path_of("models", self._model))
            if len(names) < 2:
                empty(
                    "There is nothing to compare: the model has fewer than two versions.",
                    "Register another one.",
                    command("model", "register", self._model, "--version", "2", "--from", "model.onnx"),
                )
                return
            self._choices(names)
            self._body = Section(self._draw)
            self._chart = Section(self._draw_chart)
            self._confusion = Section(
                lambda found: show_confusion(found, self._pair, self._command) if found else None
            )
            self._classes = Section(_classes_of)
            self._disagreements = Section(lambda found: show_disagreements(found, self._model, self._pair[1]))
            self._slices = Section(lambda found: show_slices(found, self._pair, self._command, self._model))
        await self._watch.first(self._path, **self._asked())
        self.update()
        ui.timer(1.0, self.update)

    def update(self) -> None:
        found = self._watch.want(self._path, every_s=_EVERY_S[self._since_s], **self._asked())
        self._banner.show(found)
        if found.data is None:
            return
        self._body.show(found.data)
        self._classes.show([row for row in found.data["versions"] if row["classes"]])
        every_s = 3 * _EVERY_S[self._since_s]
        window = {"since_s": self._since_s, "every_s": every_s}
        of_model = {
            name: self._watch.want(path_of("models", self._model, name), **window).data
            for name in ("confusion", "slices")
        }
        series = self._watch.want(
            path_of("models", self._model, "series"), step_s=step_s(self._since_s), **window
        ).data
        if series is not None:
            self._chart.show((plan_chart(series["series"], self._pair), tuple(self._names)))
        if of_model["confusion"] is not None:
            self._confusion.show(of_model["confusion"]["confusion"])
        if of_model["slices"] is not None:
            self._slices.show(of_model["slices"]["slices"])
        self._disagree(found.data["agreements"])

    def _disagree(self, agreements: list[dict[str, Any]]) -> None:
        """Of the pair in that direction in which there were copies."""
        if not agreements:
            self._disagreements.show(None)
            return
        pair = {name: agreements[0][name] for name in ("primary", "shadow")}
        topic = self._watch.want(path_of("models", self._model, "disagreements"), every_s=5.0, **pair)
        if topic.data is not None:
            self._disagreements.show(topic.data)

    def _draw_chart(self, found: tuple[Chart | None, tuple[str, ...]]) -> None:
        with card("Quality over time"):
            show_chart(*found)
            text(
                "With 95 % probability the truth is in a band all along, however often you look.", "soft", "p"
            )

    def _asked(self) -> dict[str, Any]:
        return {"since_s": self._since_s, "versions": ",".join(self._pair)}

    def _choices(self, names: list[str]) -> None:
        def choose(_: Any) -> None:
            for section in (self._confusion, self._slices, self._disagreements):
                section.forget()  # they show the pair as well
            self._pair = [str(baseline.value), str(candidate.value)]
            self._since_s = int(window.value)
            set_command(self._line, self._command())
            self.update()

        with card(), ui.element("div").classes("row-of"):
            baseline = ui.select(names, value=self._pair[0], label="Baseline", on_change=choose)
            candidate = ui.select(names, value=self._pair[1], label="Candidate", on_change=choose)
            window = ui.select(WINDOWS, value=self._since_s, label="Over the last", on_change=choose)
            for field in (baseline, candidate, window):
                field.props("dense outlined")
            self._line = command_line(self._command())

    def _command(self, *options: str) -> str:
        return command("compare", self._model, *self._pair, "--since", _WORDS[self._since_s], *options)

    def _draw(self, found: dict[str, Any]) -> None:
        with card("Verdict"):
            for verdict in found["verdicts"]:
                text(verdict["sentence"], "verdict", "p")
            if not found["verdicts"]:
                text("Choose two different versions.", "soft", "p")
            for pair in found["agreements"]:
                text(_agreement(pair), "soft", "p")
        rows = [row for row in found["versions"] if row["requests"] or row["labels"]]
        if not rows:
            empty(
                "Nothing is known yet about these versions in this time.",
                "Send the model requests, and labels.",
            )
            return
        with card("Side by side"):
            _side_by_side(rows)


def first_pair(names: list[str], answer: Any, route: Any) -> list[str]:
    """What answers most and next to most by the route of now, then its shadows, then what was asked most."""
    asked = {row["version"]: row["requests"] for row in answer["versions"]} if answer else {}
    document = (route or {}).get("document") or {}
    weights = {part["version"]: part["weight"] for part in document.get("split", ())}
    shadows = {shadow["version"] for shadow in document.get("shadows", ())}
    order = sorted(
        names, key=lambda name: (-weights.get(name, 0), name not in shadows, -asked.get(name, 0), name)
    )
    return [*order[:2], *order[:1]][:2] if order else ["", ""]


def _agreement(pair: dict[str, Any]) -> str:
    apart = f", on average {interval('', pair['mean_difference'])} apart" if pair["mean_difference"] else ""
    return (
        f"As a shadow, version {pair['shadow']} gave the same answer as version {pair['primary']} in "
        f"{interval('accuracy', pair['share'])} of {pair['rows']} rows{apart}."
    )


def _side_by_side(rows: list[dict[str, Any]]) -> None:
    """Versions are columns."""
    lines: list[list[Any]] = [
        ["Requests", *(f"{row['requests']:,}" for row in rows)],
        ["Failed", *(failures(row) for row in rows)],
        ["p50 latency", *(milliseconds(row["latency"], "p50_us") for row in rows)],
        ["p90 latency", *(milliseconds(row["latency"], "p90_us") for row in rows)],
        ["p99 latency", *(milliseconds(row["latency"], "p99_us") for row in rows)],
        ["Labels", *(f"{row['labels']:,} ({percent(row['coverage'], 0)} of recorded)" for row in rows)],
    ]
    lines += [
        [metric, *(interval(metric, row[metric]) for row in rows)]
        for metric in METRICS
        if any(row[metric] is not None for row in rows)
    ]
    table(
        ["", *(f"Version {row['version']} ({row['role']})" for row in rows)],
        lines,
        label="Versions side by side",
        stacked=False,
    )
    text("An interval in brackets holds however often you look.", "soft", "p")


def _classes_of(rows: list[dict[str, Any]]) -> None:
    with ui.element("div").classes("columns"):
        for row in rows:
            with card(f"Classes of version {row['version']} ({row['role']})"):
                _classes(row)


def _classes(row: dict[str, Any]) -> None:
    table(
        ["Class", "Rows>", "Found (recall)>", "Right when said (precision)>"],
        [
            [
                entry["label"],
                entry["rows"],
                _share(entry["recall"]),
                _share(entry["precision"]),
            ]
            for entry in row["classes"]
        ],
        label=f"Classes of version {row['version']}",
    )


def _share(estimate: dict[str, Any] | None) -> str:
    return NOTHING if estimate is None else interval("accuracy", estimate)
