"""How a rollout's page says what there is: the summary, the steps, the gates' verdicts, the events."""

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from gateway.console.pieces import Moment, badge, card, command_line, empty, table, text
from gateway.console.words import NOTHING, command, duration
from gateway.contract.plan import Plan, Step
from gateway.contract.rollout import Event, Outcome, Phase, Progress, Rollout, Verdict

KIND_OF_PHASE = {
    Phase.RUNNING: "good",
    Phase.PAUSED: "warn",
    Phase.FROZEN: "bad",
    Phase.SUCCEEDED: "good",
    Phase.ROLLED_BACK: "bad",
    Phase.ABORTED: "warn",
}
_KIND_OF_OUTCOME = {Outcome.PASS: "good", Outcome.FAIL: "bad", Outcome.HOLD: "warn", Outcome.ERROR: "bad"}


def show_summary(found: tuple[Rollout, Progress | None] | None) -> None:
    if found is None:
        return
    rollout, progress = found
    with card():
        with ui.element("div").classes("head"):
            badge(rollout.phase.value.replace("_", " "), KIND_OF_PHASE[rollout.phase])
            text(f"version {rollout.candidate} instead of {rollout.baseline}", "verdict")
        if rollout.sentence:
            text(rollout.sentence, "", "p")
        if progress is not None and progress.waits_for and not rollout.is_over:
            text(f"Now: {progress.waits_for}", "", "p")
        with ui.element("p").classes("soft"):
            text(f"started by {rollout.author}, ")
            Moment(rollout.started_ms)
            if rollout.reason:
                text(f" – {rollout.reason}")
        if progress is not None:
            _progress(progress)
        command_line(command("rollout", "status", rollout.model))


def _progress(progress: Progress) -> None:
    facts = (
        ("Candidate's requests so far", f"{progress.requests:,}"),
        ("Failed", f"{progress.errors:,}"),
        ("Units reached", NOTHING if progress.units is None else f"about {progress.units:,}"),
        ("Time in this step", duration(progress.counted_s)),
    )
    with ui.element("dl").classes("metrics"):
        for name, words in facts:
            with ui.element("div"):
                text(name, "", "dt")
                text(words, "", "dd")


def show_steps(plan: Plan, step: int, *, is_over: bool = False) -> None:
    """`step` is the one that it is in, counted from 0; -1 before it begins."""
    with ui.element("ol").classes("steps"):
        for index, each in enumerate(plan.steps):
            is_now = index == step and not is_over
            with ui.element("li").classes("now" if is_now else "done" if index < step else "") as item:
                if is_now:
                    item._props["aria-current"] = "step"
                text(f"{index + 1}. {each.title}", "strong")
                text(_hold(each), "soft")
                if index < step:
                    badge("passed", "good")
                elif is_now:
                    badge("now", "warn")
                elif is_over:
                    badge("not reached" if index > step else "ended here")


def _hold(step: Step) -> str:
    hold = step.hold
    told = [f"at least {duration(hold.min_s)}"] if hold.min_s else []
    told += [f"{hold.min_requests:,} requests"] if hold.min_requests else []
    told += [f"{hold.min_labels:,} labels"] if hold.min_labels else []
    if step.pause is not None:
        told.append("until promoted" if step.pause.for_s is None else f"for {duration(step.pause.for_s)}")
    return ", ".join(told)


def show_gates(verdicts: Sequence[Verdict], *, is_over: bool) -> None:
    if not verdicts:
        empty("It is over: what its gates said is below." if is_over else "No gate has said anything yet.")
        return
    with ui.element("ul").classes("steps"):
        for verdict in verdicts:
            with ui.element("li"):
                badge(verdict.outcome.value, _KIND_OF_OUTCOME[verdict.outcome])
                text(verdict.gate, "strong")
                text(verdict.sentence)
                if not verdict.blocks:
                    text("does not block", "soft")


def show_events(events: Sequence[Event]) -> None:
    table(
        ["When", "Step>", "What", "Who", "Why"],
        [_event(event) for event in reversed(events)],
        label="Events of this rollout, newest first",
    )


def _event(event: Event) -> list[Any]:
    def when() -> None:
        Moment(event.at_ms)

    return [when, event.step + 1, event.what.replace("_", " "), event.author, event.sentence]
