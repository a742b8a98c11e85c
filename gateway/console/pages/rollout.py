"""A rollout as it goes: its steps, what it waits for, what its gates say, and the hand on it."""

import time
from typing import Any

from nicegui import ui

from gateway.console.api import path_of
from gateway.console.ask import Question, ask
from gateway.console.chart import Chart, plan_chart, show_chart, step_s
from gateway.console.look import frame
from gateway.console.pages.begin import Beginning
from gateway.console.pages.steps import show_events, show_gates, show_steps, show_summary
from gateway.console.pieces import Section, button, card, command_line, heading, link, text
from gateway.console.place import Place, Watch, session_of_page
from gateway.console.words import command, served, with_options
from gateway.contract.rollout import Phase, Progress, Rollout

WAIT_S = 10
WINDOWS_S = (900, 3600, 6 * 3600, 86_400, 8 * 86_400)  # the chart shows the first that holds the rollout
# act -> (button, phases in which it makes sense, whether the model's name must be typed)
_ACTS: dict[str, tuple[str, frozenset[Phase], bool]] = {
    "pause": ("Pause …", frozenset({Phase.RUNNING}), False),
    "resume": ("Resume …", frozenset({Phase.PAUSED, Phase.FROZEN}), False),
    "promote": ("Let this step pass …", frozenset({Phase.RUNNING, Phase.PAUSED}), True),
    "abort": (
        "Abort, back to the route before …",
        frozenset({Phase.RUNNING, Phase.PAUSED, Phase.FROZEN}),
        True,
    ),
}


def install(place: Place) -> None:
    @ui.page("/models/{model}/rollout")
    async def show(model: str) -> None:
        await _Page(Watch(place, session_of_page()), model).build()


class _Page:
    def __init__(self, watch: Watch, model: str) -> None:
        self._watch, self._model = watch, model
        self._path = path_of("models", model, "rollout")
        self._names: tuple[str, ...] = ()

    async def build(self) -> None:
        of_model = path_of("models", self._model)
        await self._watch.first_of({self._path: 1.0, "/rollouts/plans": 30.0, of_model: 5.0})
        known = self._watch.want(of_model, every_s=5.0)
        self._names = tuple(item["version"] for item in known.data["versions"]) if known.data else ()
        with frame(f"Rollout of {self._model}", "/") as self._banner:
            with ui.element("div").classes("head"):
                heading(f"Rollout of {self._model}", 1)
                ui.element("span").classes("grow")
                link("Back to the model", path_of("models", self._model))
            self._summary = Section(show_summary)
            self._acts = Section(self._draw_acts)
            self._gates = Section(_draw_gates)
            self._chart = Section(self._draw_chart)
            self._events = Section(_draw_events)
            self._begin = Section(self._draw_begin)
        self.update()
        ui.timer(1.0, self.update)

    def update(self) -> None:
        found = self._watch.want(self._path)
        self._banner.show(found)
        is_none = found.error is not None and found.error.status == 404
        rollout = None if is_none or found.data is None else Rollout.model_validate(found.data["rollout"])
        told = None if rollout is None else found.data.get("progress")
        progress = Progress.model_validate(told) if told else None
        self._summary.show(None if rollout is None else (rollout, progress))
        self._acts.show(None if rollout is None else (rollout.phase, rollout.rollout_id))
        steps = None if rollout is None else (rollout.plan, rollout.step, rollout.is_over)
        self._gates.show(steps and (*steps, progress.verdicts if progress else ()))
        self._events.show(rollout and rollout.events)
        self._show_chart(rollout)
        plans = self._watch.want("/rollouts/plans", every_s=30.0).data
        if plans is not None and (is_none or rollout is not None):
            is_over = rollout is not None and rollout.is_over
            named = {item["name"]: item["plan"] for item in plans["plans"] if "plan" in item}
            self._begin.show((is_none, is_over, named))

    def _show_chart(self, rollout: Rollout | None) -> None:
        if rollout is None:
            self._chart.show(None)
            return
        age_s = time.time() - rollout.started_ms / 1000
        since_s = next((window for window in WINDOWS_S if window > age_s), WINDOWS_S[-1])
        path = path_of("models", self._model, "series")
        series = self._watch.want(path, every_s=5.0, since_s=since_s, step_s=step_s(since_s)).data
        if series is not None:
            pair = (rollout.baseline, rollout.candidate)
            self._chart.show((plan_chart(series["series"], pair), pair))

    def _draw_chart(self, found: tuple[Chart | None, tuple[str, str]] | None) -> None:
        if found is None:
            return
        chart, pair = found
        with card("Quality over time"):
            show_chart(chart, self._names)
            text(
                "With 95 % probability the truth is in a band all along, however often you look.", "soft", "p"
            )
            command_line(command("compare", self._model, *pair, "--plot", "quality.png"))

    def _draw_begin(self, state: tuple[bool, bool, dict[str, Any]]) -> None:
        is_first, is_over, plans = state
        if plans and (is_first or is_over):
            Beginning(
                self._watch, self._model, names=self._names, plans=plans, started=lambda _: self._hurry()
            ).build(is_first=is_first)

    def _hurry(self) -> None:
        self._watch.want(self._path).hurry()

    def _draw_acts(self, found: tuple[Phase, str] | None) -> None:
        able = [name for name, (_, phases, _) in _ACTS.items() if found is not None and found[0] in phases]
        if found is None or not able:
            return
        with card("Your hand on it"), ui.element("div").classes("acts"):
            for name in able:
                with ui.element("div"):
                    self._act(name, found[1])
                    command_line(command("rollout", name, self._model))

    def _act(self, name: str, rollout_id: str) -> None:
        words, _, is_risky = _ACTS[name]
        kind = "risky" if name == "abort" else "main" if name == "promote" else "quiet"

        async def perform(reason: str) -> str:
            body = {"reason": reason, "rollout_id": rollout_id, "wait_s": WAIT_S}
            done = await self._watch.post(f"{self._path}/{name}", body)
            phase = Rollout.model_validate(done["rollout"]).phase.value.replace("_", " ")
            return f"the rollout of {self._model} is {phase}{served(done.get('applied'))}"

        question = Question(
            title=words.removesuffix(" …"),
            draw=lambda: None,
            perform=perform,
            command=lambda reason: with_options(command("rollout", name, self._model), reason=reason),
            verb="Do it",
            confirm=self._model if is_risky else "",
            is_risky=is_risky,
            after=lambda _: self._hurry(),
        )
        button(words, lambda: ask(self._watch, question), kind)


def _draw_gates(found: tuple[Any, ...] | None) -> None:
    if found is None:
        return
    plan, step, is_over, verdicts = found
    with ui.element("div").classes("columns"):
        with card("Steps"):
            show_steps(plan, step, is_over=is_over)
        with card("Gates, when last looked at" if is_over else "Gates"):
            show_gates(verdicts, is_over=is_over)


def _draw_events(events: Any) -> None:
    if events:
        with card("What happened"):
            show_events(events)
