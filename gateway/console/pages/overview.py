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
from gateway.console.pieces import Section, badge, card, empty, heading, link, split_bar, text
from gateway.console.place import Place, Watch, session_of_page
from gateway.console.words import NOTHING, command, percent, rate

TRAFFIC_EACH_S = 0.2  # for each model: 50 models are asked in 10 s
TRAFFIC_LEAST_S = 2.0


def install(place: Place) -> None:
    @ui.page("/")
    async def overview() -> None:
        await _Overview(Watch(place, session_of_page())).build()


class _Overview:
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def build(self) -> None:
        for path in ("/status", "/routes", "/pools"):
            await self._watch.first(path)
        with frame("Overview", "/") as self._banner:
            heading("Overview", 1)
            self._facts = Section(_facts)
            self._problems = Section(_problems)
            self._models = Section(_models)
        self.update()
        ui.timer(1.0, self.update)

    def update(self) -> None:
        status, routes, pools = (self._watch.want(path) for path in ("/status", "/routes", "/pools"))
        self._banner.show(status, routes, pools)
        self._facts.show(_fact_values(status.data))
        self._problems.show(None if status.data is None else tuple(status.data["problems"]))
        if routes.data is None or pools.data is None:
            return
        models = _joined(routes.data["routes"], pools.data["pools"])
        every_s = max(TRAFFIC_LEAST_S, TRAFFIC_EACH_S * len(models))
        for model in models:
            path = path_of("models", model["model"], "compare")
            topic = self._watch.want(path, every_s=every_s, since_s=meter.RECENT_S)
            model["traffic"] = _traffic(topic.data, topic.known_at_s)
        self._models.show(models)


def _traffic(answer: Any, known_at_s: float) -> tuple[str, str, bool]:
    """Rate, errors, and whether there are too many."""
    if answer is None:
        return NOTHING, NOTHING, False
    per_s, failed = meter.of_model(answer, known_at_s or time.time())
    return rate(per_s), percent(failed), bool(failed and failed > 0.01)


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
        "traffic": (NOTHING, NOTHING, False),
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


def _models(models: list[dict[str, Any]]) -> None:
    heading("Models")
    if not models:
        empty(
            "No model is registered yet.",
            "Register a version from an ONNX file; then give the model a route.",
            "turnout model register MODEL --version 1 --from model.onnx",
        )
    with ui.element("div").classes("models").props('role="list"'):
        for model in models:
            _row(model)


def _row(model: dict[str, Any]) -> None:
    with ui.element("div").classes(f"model {'ill' if model['ills'] else ''}").props('role="listitem"'):
        with ui.element("div").classes("name"):
            link(model["model"], path_of("models", model["model"]))
        with ui.element("div").classes("wide"):
            if model["split"]:
                split_bar(model["split"], model["versions"])
            elif not model["has_route"]:
                text(f"no route yet: {command('route', 'split', model['model'], 'VERSION=100')}", "soft")
        _numbers(*model["traffic"])
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


def _numbers(per_s: str, failed: str, is_bad: bool) -> None:
    with ui.element("div").classes("rate"):
        text(per_s, "strong")
        if failed not in (NOTHING, "0.0 %"):
            badge(f"{failed} fail", "bad" if is_bad else "warn")
