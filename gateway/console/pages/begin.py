"""How a rollout begins: a candidate, a plan, what policy says of them, and a reason."""

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from gateway.console.api import ApiError, path_of
from gateway.console.ask import Question, ask, refuse
from gateway.console.change import LOOKING, policies_about, show_verdict
from gateway.console.pages.standing import approve
from gateway.console.pages.steps import show_steps
from gateway.console.pieces import button, card, command_line, empty, set_command, text
from gateway.console.place import Watch
from gateway.console.starting import Lacking, Starting, lacking_of
from gateway.console.words import command, with_options
from gateway.contract.plan import Plan
from gateway.contract.rollout import Rollout


class Beginning:
    """`names`: the versions; `plans`: by their names; `started` is told when one was started."""

    def __init__(
        self,
        watch: Watch,
        model: str,
        *,
        names: tuple[str, ...],
        plans: Mapping[str, dict[str, Any]],
        started: Callable[[str], None],
    ) -> None:
        self._watch, self._model = watch, model
        self._names, self._plans, self._started = names, plans, started

    def build(self, *, is_first: bool) -> None:
        with card("Start a rollout" if is_first else "Start another one") as self._card:
            if len(self._names) < 2:
                empty(
                    f"{self._model} has fewer than two versions: there is nothing to roll out.",
                    "Register another one:",
                    command("model", "register", self._model, "--version", "NEXT", "--from", "model.onnx"),
                )
                return
            text(
                "A rollout moves traffic to a candidate step by step, as long as its gates pass, and takes "
                "it back by itself where one fails.",
                "soft",
                "p",
            )
            with ui.element("div").classes("row-of"):
                self._candidate = self._select("Candidate", list(self._names), self._names[-1])
                plan = "standard" if "standard" in self._plans else next(iter(self._plans))
                self._plan = self._select("Plan", list(self._plans), plan)
                button("Show what would happen …", self._look)
                button("Approve it …", self._approve, "quiet")
            self._line = command_line(self._command())

    def _select(self, label: str, options: list[str], value: str) -> ui.select:
        made = ui.select(options, value=value, label=label).props("dense outlined")
        made.on_value_change(lambda _: set_command(self._line, self._command()))
        return made

    def _command(self) -> str:
        return command(
            "rollout", "start", self._model, "--to", self._candidate.value, "--plan", self._plan.value
        )

    async def _approve(self) -> None:
        """For this plan: what policy asks for before a rollout."""
        name = str(self._plan.value)
        await approve(
            self._watch, self._model, str(self._candidate.value),
            plan=self._plans[name], plan_name=name, after=lambda _: None,
        )  # fmt: skip

    async def _look(self) -> None:
        path = path_of("models", self._model, "rollouts")
        body = {"candidate": str(self._candidate.value), "template": str(self._plan.value)}
        line, title = self._command(), f"Roll out version {self._candidate.value}"
        try:
            found = await self._watch.post(path, {**body, "reason": LOOKING, "dry_run": True})
            policies = await policies_about(self._watch, self._model)
        except ApiError as error:
            lacking = await lacking_of(self._watch, error)
            if lacking is None or not lacking.is_startable:
                refuse(title, error, line)
            else:
                self._start_first(title, lacking, line)
            return

        async def start(reason: str) -> str:
            await self._watch.post(path, {**body, "reason": reason})
            return f"the rollout of {self._model} to version {body['candidate']} has begun"

        question = Question(
            title=title,
            draw=lambda: _draw(found, policies),
            perform=start,
            command=lambda reason: with_options(line, reason=reason),
            verb="Start",
            after=self._started,
        )
        ask(self._watch, question)

    def _start_first(self, title: str, lacking: Lacking, line: str) -> None:
        """A rollout is not looked at before its versions have workers; then it is."""
        starting = Starting(self._watch, lacking)

        async def start(_: str) -> str:
            await starting.perform()
            return f"workers of {lacking.names} are ready"

        question = Question(
            title=title,
            draw=starting.show,
            perform=start,
            command=lambda _: line,
            verb=f"Start workers of {lacking.names}, then show what would happen",
            has_reason=False,
            after=self._look_soon,
        )
        ask(self._watch, question)

    def _look_soon(self, _: str) -> None:
        with self._card:
            ui.timer(0, self._look, once=True)


def _draw(found: dict[str, Any], policies: tuple[str, ...]) -> None:
    rollout = Rollout.model_validate(found["rollout"])
    plan: Plan = rollout.plan
    text(f"Version {rollout.candidate} instead of {rollout.baseline}. {plan.description}", "", "p")
    show_steps(plan, -1)
    text(f"Gates of every step: {', '.join(gate.title for gate in plan.gates) or 'none'}.", "", "p")
    show_verdict(policies)
