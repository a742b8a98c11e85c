"""One prediction found by its id: who answered and why; and what would happen to a request now."""

import json
from typing import Any

from nicegui import ui

from gateway.console.api import ApiError, path_of
from gateway.console.look import frame
from gateway.console.pieces import Moment, badge, button, card, command_line, empty, heading, table, text
from gateway.console.place import Place, Watch, session_of_page
from gateway.console.words import NOTHING, command, match_words

MAX_SHOWN = 200  # characters of an answer


def install(place: Place) -> None:
    @ui.page("/predictions")
    async def show(model: str = "", prediction_id: str = "") -> None:
        await _Predictions(Watch(place, session_of_page())).build(model, prediction_id)


class _Predictions:
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def build(self, model: str, prediction_id: str) -> None:
        known = await self._watch.first("/models", every_s=10.0)
        names = [entry["model"] for entry in known.data["models"]] if known.data else []
        with frame("Predictions", "/predictions") as banner:
            banner.show(known)
            heading("Predictions", 1)
            if not names:
                empty(
                    "No model is registered yet, so nothing was predicted.",
                    "",
                    "turnout model register MODEL --version 1 --from model.onnx",
                )
                return
            chosen = model if model in names else names[0]
            with ui.element("div").classes("columns"):
                with card("Find a prediction"):
                    self._finding(names, chosen, prediction_id)
                with card("Where would a request go?"):
                    self._asking(names, chosen)
            self._answer = ui.element("div").props('aria-live="polite"')
        if prediction_id and model in names:
            await self._find()

    def _finding(self, names: list[str], model: str, prediction_id: str) -> None:
        text("Its id is in the header turnout-prediction-id of the reply.", "soft", "p")
        with ui.element("div").classes("row-of"):
            self._model = ui.select(names, value=model, label="Model").props("dense outlined")
            self._id = ui.input("Prediction id", value=prediction_id).props("dense outlined autocomplete=off")
            self._id_unit = ui.input("Unit, if known").props("dense outlined autocomplete=off")
            for field in (self._id, self._id_unit):
                field.on("keydown.enter", self._find)
            button("Find", self._find)

    def _asking(self, names: list[str], model: str) -> None:
        text("Nothing is sent: the control API says what gateways would decide.", "soft", "p")
        with ui.element("div").classes("row-of"):
            self._asked = ui.select(names, value=model, label="Model").props("dense outlined")
            self._unit = ui.input("Unit (user, device)").props("dense outlined autocomplete=off")
            self._header = ui.input("Header, name=value").props("dense outlined autocomplete=off")
            for field in (self._unit, self._header):
                field.on("keydown.enter", self._explain)
            button("Explain", self._explain)

    async def _find(self) -> None:
        model, name, unit = str(self._model.value), (self._id.value or "").strip(), self._id_unit.value or ""
        if not name:
            return
        path = path_of("models", model, "predictions", name, "explain")
        words = ("explain", "--model", model, "--prediction-id", name, *(("--unit", unit) if unit else ()))
        await self._show(path, {"unit": unit} if unit else {}, command(*words), _prediction)

    async def _explain(self) -> None:
        model, unit, header = (
            str(self._asked.value),
            self._unit.value or "",
            (self._header.value or "").strip(),
        )
        asked = {**({"unit": unit} if unit else {}), **({"header": header} if header else {})}
        words = [part for name, value in asked.items() for part in (f"--{name}", value)]
        path = path_of("models", model, "explain")
        await self._show(path, asked, command("explain", "--model", model, *words), _request)

    async def _show(self, path: str, asked: dict[str, str], line: str, draw: Any) -> None:
        try:
            found = await self._watch.get(path, **asked)
        except ApiError as error:
            self._answer.clear()
            with self._answer, card():
                text(error.message, "error", "p")
                command_line(line)
            return
        self._answer.clear()
        with self._answer, card():
            draw(found)
            command_line(line)


def _prediction(found: dict[str, Any]) -> None:
    heading(f"Prediction {found['prediction_id']} of {found['model']}")
    primary = found["records"][0]
    route = found["route"]
    by = f", by the route of revision {primary['revision']}" + (f" ({route['author']})" if route else "")
    text(f"Version {primary['version']} answered, {_because(primary['reason'])}{by}.", "verdict", "p")
    if found["label"] is not None:
        text(f"Its label is {json.dumps(found['label'])}.", "", "p")
    elif found["reward"] is not None:
        text(f"Its reward is {found['reward']:g}.", "", "p")
    else:
        text("No label has come for it yet.", "soft", "p")
    if found["unit"] is not None:
        text(found["unit"]["sentence"], "", "p")
    if found["route_problem"]:
        text(found["route_problem"], "warning", "p")
    table(
        ["Version", "Role", "Answer", "Why", "Latency>", "Worker", "When"],
        [_record(record) for record in found["records"]],
        label="Answers",
    )
    for shadow in found["silent_shadows"]:
        text(f"Shadow {shadow['version']} has no answer on record.", "soft", "p")


def _record(record: dict[str, Any]) -> list[Any]:
    def when() -> None:
        Moment(record["at_s"] * 1000)

    return [
        record["version"],
        record["role"],
        _output(record["output"]),
        record["reason"] or "a copy",
        f"{record['latency_us'] / 1000:.2f} ms",
        _worker(record),
        when,
    ]


def _because(reason: str) -> str:
    kind, _, name = reason.partition(":")
    return {
        "sticky": "for its unit sticks to it",
        "weight": "drawn by its weight",
        "pin": "since the caller asked for it",
        "fallback": "since the chosen version had no ready worker",
        "rule": f"by the rule {name}",
    }.get(kind, f"because of {reason}")


def _worker(record: dict[str, Any]) -> str:
    """Of copies neither is recorded."""
    attempts = record["attempts"]
    again = f", {attempts} attempts" if attempts is not None and attempts > 1 else ""
    return f"{record['worker'] or NOTHING}{again}"


def _output(output: Any) -> str:
    shown = json.dumps(output, ensure_ascii=False)
    return shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + " …"


def _request(found: dict[str, Any]) -> None:
    heading(f"A request to {found['model']}, now")
    outcomes = found["outcomes"]
    with ui.element("p").classes("verdict"):
        if not outcomes:
            text("Nobody would answer.")
        for outcome in outcomes:
            text(_outcome(outcome))
    told = []
    for rule in found["rules"]:
        unmet = rule["unmet"]
        holds = "holds" if rule["holds"] else f"does not hold: {match_words([unmet['condition']])} is wanted"
        told.append(f"Rule {rule['name']} {holds}")
    told += [
        f"Shadow {shadow['version']}: "
        + ("gets a copy" if shadow.get("copied") else f"{shadow.get('percent', 100):g} % of requests")
        for shadow in found["shadows"]
    ]
    if found["sticky"]:
        who = f"unit {found['unit']}" if found["unit"] else "no unit given, so chance decides"
        told.append(f"Sticks to {found['sticky']}: {who}")
    with ui.element("ul").classes("list"):
        for words in told:
            text(words, "", "li")
    if found["gateways"]["behind"]:
        badge(f"{found['gateways']['behind']} gateways are behind", "bad")


def _outcome(outcome: dict[str, Any]) -> str:
    often = "" if outcome["percent"] == 100 else f"{outcome['percent']:g} %: "
    if outcome["answered_by"] is None:
        return f"{often}version {outcome['version']} has no worker, and nobody steps in (503). "
    return f"{often}version {outcome['answered_by']} answers, {_because(outcome['reason'])}. "
