"""The parts of the compare page below its numbers: confusion, slices, disagreements; each with a command."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui
from nicegui.element import Element

from gateway.console.api import path_of
from gateway.console.pieces import Moment, card, command_line, empty, heading, link, table, text
from gateway.console.words import NOTHING, command, failures, interval, metric_of

MAX_SHOWN = 60  # characters of an answer
Windowed = Callable[..., str]  # options -> the compare command of these versions and this time


def show_confusion(matrices: Sequence[dict[str, Any]], versions: Sequence[str], line: Windowed) -> None:
    shown = [matrix for name in versions for matrix in matrices if matrix["version"] == name]
    if not shown:
        return
    with card("Taken for what"):
        text(
            "A row is a label, a column what the version answered; right answers are on the diagonal.",
            "soft",
            "p",
        )
        with ui.element("div").classes("columns"):
            for matrix in shown:
                _matrix(matrix)
        command_line(line("--confusion"))


def _matrix(matrix: dict[str, Any]) -> None:
    name = f"Version {matrix['version']} ({matrix['role']})"
    with ui.element("div"):
        heading(name, 3)
        with ui.element("div").classes("scroll") as around:
            around._props.update({"tabindex": 0, "role": "region", "aria-label": f"Confusion of {name}"})
            with ui.element("table").classes("matrix"):
                with ui.element("thead"), ui.element("tr"):
                    text("label", "", "td")
                    for answer in matrix["classes"]:
                        _head(answer, "col")
                with ui.element("tbody"):
                    for label, row in zip(matrix["classes"], matrix["rows"], strict=True):
                        _row(label, matrix["classes"], row)
        if matrix["left_out"]:
            text(f"{matrix['left_out']:,} rows of rarer classes are left out.", "soft", "p")


def _row(label: str, classes: Sequence[str], row: Sequence[int]) -> None:
    total = max(1, sum(row))
    with ui.element("tr"):
        _head(label, "row")
        for answer, count in zip(classes, row, strict=True):
            kind = "hit" if answer == label else "miss" if count else "none"
            cell = text(f"{count:,}" if count else "·", kind, "td")
            if count:
                cell.style(f"--share: {100 * count / total:.0f}%")


def _head(words: str, scope: str) -> Element:
    head = text(words, "", "th")
    head._props["scope"] = scope
    return head


def show_slices(
    slices: Sequence[dict[str, Any]], versions: Sequence[str], line: Windowed, model: str
) -> None:
    rows = [
        (part, row)
        for part in slices
        for row in part["versions"]
        if row["version"] in versions and (row["requests"] or row["labels"])
    ]
    with card("Slices"):
        if not rows:
            empty(
                "The route tells no slices apart: good on average may be bad for somebody.",
                "Name up to four request headers with few values in the route, as "
                "record: {slices: [x-tenant]}, and apply it:",
                f"turnout export > routes.yaml && {command('apply', '-f', 'routes.yaml')}",
            )
            return
        table(
            ["Header", "Value", "Version", "Requests>", "Failed>", "Labels>", "Quality"],
            [
                [
                    part["header"], part["value"], f"{row['version']} ({row['role']})",
                    f"{row['requests']:,}", failures(row), f"{row['labels']:,}", _quality(row),
                ]
                for part, row in rows
            ],
            label=f"Slices of {model}",
        )  # fmt: skip
        command_line(line("--slices"))


def _quality(row: dict[str, Any]) -> str:
    metric = metric_of(row)
    return NOTHING if metric is None else f"{metric} {interval(metric, row[metric])}"


def show_disagreements(found: dict[str, Any] | None, model: str, candidate: str) -> None:
    """`found` None: neither of the two has been a shadow of the other."""
    with card("Where they disagree most"):
        if found is None:
            empty(
                "Neither of them has got copies of the other's requests.",
                "Give the candidate copies; nobody sees its answers:",
                command("route", "shadow", model, f"{candidate}=100"),
            )
            return
        pair = (found["primary"], found["shadow"])
        if not found["disagreements"]:
            empty(f"Shadow {pair[1]} has not answered otherwise than version {pair[0]} so far.")
        else:
            table(
                ["When", "Prediction", f"Version {pair[0]}", f"Shadow {pair[1]}", "Apart>"],
                [_disagreement(model, item) for item in found["disagreements"]],
                label="Disagreements",
            )
        command_line(command("compare", model, *pair, "--disagreements"))


def _disagreement(model: str, item: dict[str, Any]) -> list[Any]:
    def when() -> None:
        Moment(item["at_ms"])

    def prediction() -> None:
        link(item["prediction_id"], f"/predictions{_query(model, item['prediction_id'])}")

    apart = NOTHING if item["apart"] is None else f"{item['apart']:.3g}"
    return [when, prediction, _short(item["primary"]), _short(item["shadow"]), apart]


def _query(model: str, prediction_id: str) -> str:
    """Both are of letters, digits and `._:-` only; quoted all the same."""
    return f"?model={path_of(model)[1:]}&prediction_id={path_of(prediction_id)[1:]}"


def _short(answer: Any) -> str:
    shown = json.dumps(answer, ensure_ascii=False)
    return shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + " …"
