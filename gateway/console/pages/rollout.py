"""A rollout as it goes: its steps, what it waits for, what its gates say, and the hand on it."""

from typing import Any

from nicegui import ui

from gateway.console.api import path_of
from gateway.console.change import act
from gateway.console.look import frame
from gateway.console.pieces import (
    Moment,
    Section,
    badge,
    button,
    card,
    command_line,
    empty,
    heading,
    link,
    table,
    text,
)
from gateway.console.place import Place, Watch, session_of_page
from gateway.console.words import NOTHING, command, duration
from gateway.contract.plan import Step
from gateway.contract.rollout import Outcome, Phase, Progress, Rollout, Verdict

_KIND_OF_PHASE = {
    Phase.RUNNING: "good",
    Phase.PAUSED: "warn",
    Phase.FROZEN: "bad",
    Phase.SUCCEEDED: "good",
    Phase.ROLLED_BACK: "bad",
    Phase.ABORTED: "warn",
}
_KIND_OF_OUTCOME = {Outcome.PASS: "good", Outcome.FAIL: "bad", Outcome.HOLD: "warn", Outcome.ERROR: "bad"}
# act -> (button, phases in which it makes sense, whether the model's name must be typed)
_ACTS: dict[str, tuple[str, frozenset[Phase], bool]] = {
    "pause": ("Pause", frozenset({Phase.RUNNING}), False),
    "resume": ("Resume", frozenset({Phase.PAUSED, Phase.FROZEN}), False),
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

    async def build(self) -> None:
        await self._watch.first(self._path)
        with frame(f"Rollout of {self._model}", "/") as self._banner:
            with ui.element("div").classes("head"):
                heading(f"Rollout of {self._model}", 1)
                ui.element("span").classes("grow")
                link("Back to the model", path_of("models", self._model))
            self._none = Section(self._draw_none)
            self._acts = Section(self._draw_acts)
            self._body = Section(_draw)
        self.update()
        ui.timer(1.0, self.update)

    def update(self) -> None:
        found = self._watch.want(self._path)
        self._banner.show(found)
        is_none = found.error is not None and found.error.status == 404
        self._none.show(is_none)
        if is_none or found.data is None:
            self._acts.show(None)
            self._body.show(None)
            return
        rollout = Rollout.model_validate(found.data["rollout"])
        progress = found.data.get("progress")
        self._acts.show(rollout.phase)
        self._body.show((rollout, Progress.model_validate(progress) if progress else None))

    def _draw_none(self, is_none: bool) -> None:
        if is_none:
            with card():
                empty(
                    f"No rollout of {self._model} is known.",
                    "A rollout moves traffic to a candidate step by step, as long as its gates pass. "
                    "Write its plan and start it:",
                    command("rollout", "start", self._model, "--to", "VERSION", "--plan", "standard"),
                )

    def _draw_acts(self, phase: Phase | None) -> None:
        able = [name for name, (_, phases, _) in _ACTS.items() if phase in phases]
        if not able:
            return
        with card("Your hand on it"), ui.element("div").classes("columns"):
            for name in able:
                with ui.element("div"):
                    self._button(name)
                    command_line(command("rollout", name, self._model))

    def _button(self, name: str) -> None:
        words, _, is_risky = _ACTS[name]
        button(
            words, lambda: self._ask(name), "risky" if name == "abort" else "quiet" if is_risky else "main"
        )

    def _ask(self, name: str) -> None:
        words, _, is_risky = _ACTS[name]
        with ui.dialog(value=True) as dialog, ui.card().classes("dialog"):
            dialog._props["aria-label"] = words
            heading(words)
            who = ui.input("Your name, for the history", value=self._watch.session.author)
            why = ui.input("Why (the history keeps it)").props("maxlength=512")

            async def perform() -> None:
                self._watch.session.author = (who.value or "").strip()[:128]
                body = {"reason": (why.value or "").strip()}
                path = f"{self._path}/{name}"
                if await act(lambda: self._watch.post(path, body), done=f"{words.rstrip(' …')}: done"):
                    dialog.close()
                    self._watch.want(self._path).hurry()

            typed = ui.input(f"Type {self._model} to confirm").props("autocomplete=off")
            typed.set_visibility(is_risky)
            with ui.element("div").classes("row-of"):
                commit = button("Do it", perform, "risky" if is_risky else "main")
                commit.set_enabled(not is_risky)
                typed.on_value_change(lambda event: commit.set_enabled(event.value == self._model))
                button("Cancel", dialog.close, "quiet")


def _draw(found: tuple[Rollout, Progress | None] | None) -> None:
    if found is None:
        return
    rollout, progress = found
    with card():
        _summary(rollout, progress)
        command_line(command("rollout", "status", rollout.model))
    with ui.element("div").classes("columns"):
        with card("Steps"):
            _steps(rollout, progress)
        with card("Gates"):
            _gates(progress.verdicts if progress else ())
    with card("What happened"):
        _events(rollout)


def _summary(rollout: Rollout, progress: Progress | None) -> None:
    with ui.element("div").classes("head"):
        badge(rollout.phase.value.replace("_", " "), _KIND_OF_PHASE[rollout.phase])
        text(f"version {rollout.candidate} instead of {rollout.baseline}", "verdict")
    if rollout.sentence:
        text(rollout.sentence, "", "p")
    if progress is not None and progress.waits_for and not rollout.is_over:
        text(progress.waits_for, "", "p")
    with ui.element("p").classes("soft"):
        text(f"started by {rollout.author}, ")
        Moment(rollout.started_ms)
        if rollout.reason:
            text(f" – {rollout.reason}")
    if progress is not None:
        facts = (
            ("Requests so far", f"{progress.requests:,}"),
            ("Failed", f"{progress.errors:,}"),
            ("Units reached", NOTHING if progress.units is None else f"about {progress.units:,}"),
            ("Time in this step", duration(progress.counted_s)),
        )
        with ui.element("dl").classes("metrics"):
            for name, words in facts:
                with ui.element("div"):
                    text(name, "", "dt")
                    text(words, "", "dd")


def _steps(rollout: Rollout, progress: Progress | None) -> None:
    with ui.element("ol").classes("steps"):
        for index, step in enumerate(rollout.plan.steps):
            is_now = index == rollout.step and not rollout.is_over
            with ui.element("li").classes(
                "now" if is_now else "done" if index < rollout.step else ""
            ) as item:
                if is_now:
                    item._props["aria-current"] = "step"
                text(f"{index + 1}. {step.title}", "strong")
                text(_hold(step), "soft")
                if index < rollout.step:
                    badge("passed", "good")
                elif is_now:
                    badge("now", "warn")


def _hold(step: Step) -> str:
    hold = step.hold
    told = [f"at least {duration(hold.min_s)}"] if hold.min_s else []
    told += [f"{hold.min_requests:,} requests"] if hold.min_requests else []
    told += [f"{hold.min_labels:,} labels"] if hold.min_labels else []
    if step.pause is not None:
        told.append("until promoted" if step.pause.for_s is None else f"for {duration(step.pause.for_s)}")
    return ", ".join(told)


def _gates(verdicts: tuple[Verdict, ...]) -> None:
    if not verdicts:
        empty("No gate has said anything in this step yet.")
        return
    with ui.element("ul").classes("steps"):
        for verdict in verdicts:
            with ui.element("li"):
                badge(verdict.outcome.value, _KIND_OF_OUTCOME[verdict.outcome])
                text(verdict.gate, "strong")
                text(verdict.sentence)
                if not verdict.blocks:
                    text("does not block", "soft")


def _events(rollout: Rollout) -> None:
    def when(at_ms: int) -> Any:
        def draw() -> None:
            Moment(at_ms)

        return draw

    table(
        ["When", "Step>", "What", "Who", "Why"],
        [
            [when(event.at_ms), event.step + 1, event.what.replace("_", " "), event.author, event.sentence]
            for event in reversed(rollout.events)
        ],
        label="Events of this rollout, newest first",
    )
