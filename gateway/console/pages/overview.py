"""All models at a glance, and what needs somebody.

Three questions to the control API a second whatever the number of models; traffic of each model is asked for
in turn, a few at a time.
"""

import time
from collections.abc import Sequence
from typing import Any

from nicegui import ui

from gateway.console import meter
from gateway.console.api import path_of
from gateway.console.look import frame
from gateway.console.pages.steps import KIND_OF_PHASE
from gateway.console.pieces import (
    Section,
    badge,
    card,
    command_line,
    empty,
    heading,
    link,
    say,
    split_bar,
    text,
)
from gateway.console.place import Place, Watch, session_of_page
from gateway.console.words import NOTHING, command, percent, rate
from gateway.contract.rollout import Phase

TRAFFIC_EACH_S = 0.2  # for each model: 50 models are asked in 10 s
TRAFFIC_LEAST_S = 2.0
MANY_FAIL = 0.01  # of the requests


def install(place: Place) -> None:
    @ui.page("/")
    async def overview() -> None:
        await _Overview(Watch(place, session_of_page())).build()


class _Overview:
    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._numbers: dict[str, _Numbers] = {}

    async def build(self) -> None:
        for path in ("/status", "/routes", "/pools", "/rollouts"):
            await self._watch.first(path)
        with frame("Overview", "/") as self._banner:
            heading("Overview", 1)
            self._facts = Section(_facts)
            self._problems = Section(_problems)
            self._rollouts = Section(_rollouts)
            self._models = Section(self._draw_models)
        self.update()
        ui.timer(1.0, self.update)

    def update(self) -> None:
        status, routes, pools = (self._watch.want(path) for path in ("/status", "/routes", "/pools"))
        self._banner.show(status, routes, pools)
        self._facts.show(_fact_values(status.data))
        self._problems.show(None if status.data is None else tuple(status.data["problems"]))
        rollouts = self._watch.want("/rollouts", every_s=2.0)
        live = [item for item in (rollouts.data or {"rollouts": []})["rollouts"] if not item["is_over"]]
        self._rollouts.show(live)
        if routes.data is None or pools.data is None:
            return
        models = _joined(routes.data["routes"], pools.data["pools"])
        self._models.show(models)
        every_s = max(TRAFFIC_LEAST_S, TRAFFIC_EACH_S * len(models))
        for name, numbers in self._numbers.items():
            topic = self._watch.want(
                path_of("models", name, "compare"), every_s=every_s, since_s=meter.RECENT_S
            )
            numbers.say(topic.data, topic.known_at_s)

    def _draw_models(self, models: list[dict[str, Any]]) -> None:
        """Drawn anew when a route or a pool changes; numbers are said in place."""
        self._numbers = {}
        heading("Models")
        if not models:
            empty(
                "No model is registered yet.",
                "Register a version from an ONNX file; then give the model a route.",
                "turnout model register MODEL --version 1 --from model.onnx",
            )
            return
        with ui.element("div").classes("model heads").props('aria-hidden="true"'):
            for words in ("Model", "Versions that answer, and their share", "Requests", "Workers", "Also"):
                text(words)
        with ui.element("div").classes("models").props('role="list"'):
            for model in models:
                self._numbers[model["model"]] = _row(model)
        command_line("turnout status")


class _Numbers:
    """Requests a second of one model, and the share that failed if any did."""

    def __init__(self) -> None:
        with ui.element("div").classes("rate"):
            self._rate = text(NOTHING, "strong")
            self._failed = badge("")
        self._failed.set_visibility(False)

    def say(self, answer: Any, known_at_s: float) -> None:
        if answer is None:
            return
        per_s, failed = meter.of_model(answer, known_at_s or time.time())
        say(self._rate, rate(per_s))
        self._failed.set_visibility(bool(failed))
        if failed:
            say(self._failed, f"{percent(failed)} fail")
            self._failed.classes(remove="bad warn", add="bad" if failed > MANY_FAIL else "warn")


def _joined(routes: Sequence[dict[str, Any]], pools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a model, those in trouble first."""
    by_model: dict[str, list[dict[str, Any]]] = {}
    for pool in pools:
        by_model.setdefault(pool["model"], []).append(pool)
    by_route = {route["model"]: route for route in routes}
    found = [_model(name, by_route.get(name), by_model.get(name, [])) for name in {*by_model, *by_route}]
    return sorted(found, key=lambda entry: (not entry["ills"], entry["model"]))


def _model(name: str, route: dict[str, Any] | None, pools: list[dict[str, Any]]) -> dict[str, Any]:
    is_readable = route is not None and not route["problems"]
    document = route["document"] if route is not None and is_readable else {}
    ready = sum(pool["ready"] for pool in pools)
    wanted = sum(pool["wanted"] or 0 for pool in pools)
    ills = [
        f"{pool['version']}: {pool['ready']} of {pool['wanted']} workers"
        for pool in pools
        if pool["is_short"]
    ]
    if route is not None and not is_readable:
        ills.insert(0, "its route cannot be read")
    return {
        "model": name,
        "versions": [pool["version"] for pool in pools],
        "split": document.get("split", []),
        "shadows": [shadow["version"] for shadow in document.get("shadows", ())],
        "rules": len(document.get("rules", ())),
        "has_route": route is not None,
        "revision": route["revision"] if route is not None else 0,
        "workers": f"{ready} of {wanted} workers",
        "ills": ills,
    }


def _fact_values(status: Any) -> tuple[tuple[str, str], ...]:
    if status is None:
        return ()
    behind = f", {status['gateways_behind']} behind" if status["gateways_behind"] else ""
    return (
        ("models", str(status["models"])),
        ("gateways", f"{status['gateways']}{behind}"),
        ("workers ready", f"{status['workers_ready']} of {status['workers_wanted']}"),
        ("revision", str(status["revision"])),
    )


def _facts(values: tuple[tuple[str, str], ...]) -> None:
    with ui.element("div").classes("facts"):
        for name, value in values:
            with ui.element("div").classes("fact"):
                text(value, "value")
                text(name, "name")


def _problems(problems: tuple[str, ...] | None) -> None:
    if problems is None:
        return
    if not problems:
        with ui.element("p").props('role="status"'):
            badge("All is well", "good")
        return
    with card("What needs you", "problems"), ui.element("ul").classes("list"):
        for problem in problems:
            text(problem, "", "li")


def _rollouts(rollouts: list[dict[str, Any]]) -> None:
    if not rollouts:
        return
    with card("Rollouts under way"), ui.element("ul").classes("steps"):
        for item in rollouts:
            with ui.element("li"):
                link(item["model"], path_of("models", item["model"], "rollout"))
                if "problem" in item:
                    badge(item["problem"], "bad")
                    continue
                badge(item["phase"], KIND_OF_PHASE[Phase(item["phase"])])
                text(f"version {item['candidate']} instead of {item['baseline']}")
                text(_step(item), "soft")


def _step(item: dict[str, Any]) -> str:
    return f"step {item['step'] + 1} of {item['steps']}: {item['step_title']}"


def _row(model: dict[str, Any]) -> _Numbers:
    with ui.element("div").classes(f"model {'ill' if model['ills'] else ''}").props('role="listitem"'):
        with ui.element("div").classes("name"):
            link(model["model"], path_of("models", model["model"]))
        with ui.element("div").classes("wide"):
            if model["split"]:
                split_bar(model["split"], model["versions"])
            elif not model["has_route"]:
                text(f"no route yet: {command('route', 'split', model['model'], 'VERSION=100')}", "soft")
        numbers = _Numbers()
        with ui.element("div").classes("row-of"):
            for ill in model["ills"]:
                badge(ill, "bad")
            if not model["ills"]:
                badge(model["workers"], "good")
        with ui.element("div").classes("soft"):
            shadows = ", ".join(model["shadows"])
            told = [f"shadow {shadows}"] if shadows else []
            told += [f"{model['rules']} rule{'s' if model['rules'] > 1 else ''}"] if model["rules"] else []
            text(" · ".join([*told, f"revision {model['revision']}"]))
    return numbers
