"""All models at a glance, and what needs somebody.

A handful of questions to the control API a second, whatever the number of models and of browsers.
"""

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from gateway.console.api import path_of
from gateway.console.look import frame
from gateway.console.models import ModelRows, row_of, told
from gateway.console.pages.steps import KIND_OF_PHASE
from gateway.console.pieces import Section, badge, card, command_line, empty, heading, link, sentence, text
from gateway.console.place import Place, Watch, session_of_page
from gateway.contract.rollout import Phase

# Adding up the traffic of fifty models takes the control process a tenth of a second and more: no page waits
# for what needs it.
_LATER = ("/status", "/overview")
# How often each is asked; a change of a route is seen within the second that routes have.
_EVERY_S = {"/status": 2.0, "/routes": 1.0, "/pools": 2.0, "/rollouts": 2.0, "/overview": 1.0}


def install(place: Place) -> None:
    @ui.page("/")
    async def overview() -> None:
        await _Overview(Watch(place, session_of_page())).build()


class _Overview:
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def build(self) -> None:
        for path in _LATER:
            self._watch.want(path, every_s=_EVERY_S[path])
        await self._watch.first_of({path: _EVERY_S[path] for path in _EVERY_S if path not in _LATER})
        with frame("Overview", "/") as self._banner:
            heading("Overview", 1)
            self._facts = Section(_facts)
            self._problems = Section(_problems)
            self._rollouts = Section(_rollouts)
            heading("Models")
            self._none = Section(_no_models)
            self._heads = Section(_heads)
            self._rows = ModelRows()
            command_line("turnout status")
        self.update()
        ui.timer(1.0, self.update)

    def update(self) -> None:
        known = {path: self._watch.want(path, every_s=every_s) for path, every_s in _EVERY_S.items()}
        status, routes, pools = known["/status"], known["/routes"], known["/pools"]
        self._banner.show(status, routes, pools)
        self._facts.show(_fact_values(status.data))
        self._problems.show(None if status.data is None else tuple(status.data["problems"]))
        rollouts = known["/rollouts"].data or {"rollouts": []}
        self._rollouts.show([item for item in rollouts["rollouts"] if not item["is_over"]])
        if routes.data is None or pools.data is None:
            return
        rows = _joined(routes.data["routes"], pools.data["pools"])
        self._none.show(not rows)
        self._heads.show(bool(rows))
        self._rows.show(rows)
        if known["/overview"].data is not None:
            models = known["/overview"].data["models"]
            self._rows.say({item["model"]: told(item["per_s"], item["error_share"]) for item in models})


def _joined(routes: Sequence[dict[str, Any]], pools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a model, those in trouble first."""
    by_model: dict[str, list[dict[str, Any]]] = {}
    for pool in pools:
        by_model.setdefault(pool["model"], []).append(pool)
    by_route = {route["model"]: route for route in routes}
    found = [row_of(name, by_route.get(name), by_model.get(name, [])) for name in {*by_model, *by_route}]
    return sorted(found, key=lambda row: (not row["ills"], row["model"]))


def _fact_values(status: Any) -> tuple[tuple[str, str], ...]:
    if status is None:
        return ()
    behind = f", {status['gateways_behind']} behind" if status["gateways_behind"] else ""
    return (
        ("models", str(status["models"])),
        ("gateways", f"{status['gateways']}{behind}"),
        ("workers ready", f"{status['workers_ready']} of {status['workers_wanted']}"),
        ("rollouts under way", str(status["rollouts"])),
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
            sentence(problem, "", "li")


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
                text(f"step {item['step'] + 1} of {item['steps']}: {item['step_title']}", "soft")


def _no_models(is_empty: bool) -> None:
    if is_empty:
        empty(
            "No model is registered yet.",
            "Register a version from an ONNX file; then give the model a route.",
            "turnout model register MODEL --version 1 --from model.onnx",
        )


def _heads(has_models: bool) -> None:
    if has_models:
        with ui.element("div").classes("model heads").props('aria-hidden="true"'):
            for words in ("Model", "Versions that answer, and their share", "Requests", "Workers", "Also"):
                text(words)
