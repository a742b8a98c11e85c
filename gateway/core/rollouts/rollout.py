"""One look at a rollout: what is to be done now. Called by the rollout controller at every tick.

`decide` gets a rollout and all that was seen, and returns what to do next; it does nothing itself. The
controller performs the action in one commit, or not at all, and looks again. It gives the rollout as read
from its envelope: `rollout.as_of(envelope.revision)`. Routes are committed by `rollout.route_author`.

What is looked at, in this order:

1. ended: nothing more.
2. somebody else changed or deleted the route: it pauses. Nothing is judged or taken back while the route is
   not the rollout's own; to resume makes it so again.
3. a gate says FAIL: roll back, or freeze where the plan says so; also while it is paused. A frozen rollout
   stays frozen.
4. blast radius: it pauses.
5. paused or frozen: verdicts are kept up to date, and nothing else.
6. gateways, workers: their lack stops the time that counts.
7. the step's minima, and its gates: all that block say PASS, or somebody promoted the step.
8. the step's maxima: it pauses.
"""

from gateway.contract.errors import CallerError
from gateway.contract.plan import Step
from gateway.contract.rollout import Outcome, Phase, Progress, Rollout, Verdict
from gateway.contract.route import Route
from gateway.core.rollouts.gates import judge_step
from gateway.core.rollouts.rollout_actions import Action, CheckCandidate, Commit, Stay
from gateway.core.rollouts.rollout_events import at_step, committed, in_phase, noted, place, switch_report
from gateway.core.rollouts.rollout_route import route_after_success, route_back, route_for
from gateway.core.rollouts.rollout_waits import (
    Counts,
    blast_radius,
    counted,
    counts_of,
    lacks_workers,
    reached_maximum,
    why_not_passed,
    why_time_stands,
)
from gateway.core.rollouts.seen import Seen

__all__ = ["Action", "CheckCandidate", "Commit", "Stay", "decide"]


def decide(rollout: Rollout, seen: Seen, *, foresee: bool = True) -> Action:
    """The next action; the same input gives the same. `foresee`: estimate how many labels are missing."""
    progress = _own_progress(rollout, seen)
    if rollout.is_over or rollout.step >= len(rollout.plan.steps):
        return Stay(progress)
    if seen.route is None or not _is_ours(rollout, seen):
        return _taken_over(rollout, seen, progress)
    step = rollout.plan.steps[rollout.step]
    counts = counts_of(rollout, seen)
    verdicts = _verdicts(rollout, step, seen, foresee=foresee)
    progress = progress.model_copy(
        update={
            "ticked_ms": seen.now_ms,
            "verdicts": verdicts,
            "units": seen.units,
            "requests": progress.requests if counts.requests is None else counts.requests,
            "errors": progress.errors if counts.errors is None else counts.errors,
        }
    )
    if failed := [verdict for verdict in verdicts if verdict.outcome is Outcome.FAIL]:
        return _failed(rollout, seen, progress, verdicts, failed[0].sentence)
    reached, unknown = blast_radius(rollout, counts, units=seen.units)
    if rollout.phase is not Phase.RUNNING:
        return Stay(progress.model_copy(update={"waits_for": f"somebody to resume it: {rollout.sentence}"}))
    if reached is not None:
        return _paused(rollout, seen, verdicts, reached)
    return _run(rollout, step, seen, route=seen.route, progress=progress, counts=counts, unknown=unknown)


def _own_progress(rollout: Rollout, seen: Seen) -> Progress:
    """The stored progress, or a new one where that is about another step or rollout."""
    stored = seen.progress
    if stored.rollout_id != rollout.rollout_id:
        return Progress(rollout_id=rollout.rollout_id, step=rollout.step)
    if stored.step != rollout.step:
        return Progress(rollout_id=rollout.rollout_id, step=rollout.step, rollout_mark=stored.rollout_mark)
    return stored


def _is_ours(rollout: Rollout, seen: Seen) -> bool:
    return seen.route_revision == rollout.step_revision or seen.route_author == rollout.route_author


def _taken_over(rollout: Rollout, seen: Seen, progress: Progress) -> Action:
    if seen.route is None:
        sentence = f"the route of {rollout.model} is gone: somebody deleted it"
    else:
        sentence = (
            f"{seen.route_author} changed the route (revision {seen.route_revision}): `turnout rollout "
            f"resume {rollout.model}` puts the step on top of it, `abort` ends the rollout"
        )
    if rollout.phase is Phase.RUNNING:
        return _paused(rollout, seen, (), sentence)
    return Stay(progress.model_copy(update={"ticked_ms": seen.now_ms, "waits_for": sentence}))


def _verdicts(rollout: Rollout, step: Step, seen: Seen, *, foresee: bool) -> tuple[Verdict, ...]:
    return judge_step(
        rollout.plan,
        step,
        seen.evidence,
        baseline=rollout.baseline,
        candidate=rollout.candidate,
        external=seen.external,
        foresee=foresee,
    )


def _run(
    rollout: Rollout,
    step: Step,
    seen: Seen,
    *,
    route: Route,
    progress: Progress,
    counts: Counts,
    unknown: str | None,
) -> Action:
    stands = why_time_stands(rollout, step, seen)
    if step.cutover is not None and not rollout.switched:
        return _before_switch(rollout, step, seen, route=route, progress=progress, stands=stands or unknown)
    counted_s = counted(progress, seen.elapsed_s, counts=stands is None)
    progress = progress.model_copy(update={"counted_s": counted_s})
    missing = why_not_passed(rollout, step, counted_s=counted_s, counts=counts, verdicts=progress.verdicts)
    if stands is None and unknown is None and not missing:
        return _passed(rollout, seen, route=route, progress=progress)
    most = reached_maximum(step, counted_s=counted_s, counts=counts)
    waits_for = "; ".join(([stands] if stands else []) + ([unknown] if unknown else []) + missing)
    if most is not None and missing:
        return _paused(rollout, seen, progress.verdicts, f"{most}, and is not decided: {waits_for}")
    return Stay(progress.model_copy(update={"waits_for": waits_for}))


def _before_switch(
    rollout: Rollout, step: Step, seen: Seen, *, route: Route, progress: Progress, stands: str | None
) -> Action:
    """Checked first, then switched; time begins to count with the switch."""
    progress = progress.model_copy(update={"counted_s": 0.0})
    lack = lacks_workers(rollout, step, seen)
    if stands is not None or lack is not None:
        return Stay(progress.model_copy(update={"waits_for": stands or f"workers: {lack}"}))
    check = seen.check
    if check is None:
        return CheckCandidate(
            progress.model_copy(update={"waits_for": f"the workers of {rollout.candidate} to be checked"})
        )
    problems = check.problems or (("no ready worker could be checked",) if check.workers <= 0 else ())
    if problems:
        sentence = f"{rollout.candidate} is not fit to go live: {'; '.join(problems)}"
        verdict = Verdict(gate="check before the switch", outcome=Outcome.FAIL, sentence=sentence)
        return _failed(rollout, seen, progress, (*progress.verdicts, verdict), sentence)
    sentence = (
        f"{rollout.candidate} answers everything: {check.workers} workers were warmed with "
        f"{check.warmed_requests} requests, {check.golden_passed} of {check.golden_of} golden requests passed"
    )
    switched = noted(
        rollout.model_copy(update={"switched": True, "step_entered_ms": seen.now_ms, "promoted": False}),
        "cutover",
        sentence,
        now_ms=seen.now_ms,
        author=rollout.route_author,
        verdicts=progress.verdicts,
        report=switch_report(rollout, seen),
    )
    return _entering(rollout, seen, switched, step, route=route)


def _passed(rollout: Rollout, seen: Seen, *, route: Route, progress: Progress) -> Action:
    why = "promoted" if rollout.promoted else f"passed after {progress.counted_s:.0f} s"
    passed = noted(
        rollout,
        "advanced",
        f"{place(rollout)}: {why}",
        now_ms=seen.now_ms,
        author=rollout.route_author,
        verdicts=progress.verdicts,
    )
    if rollout.step + 1 >= len(rollout.plan.steps):
        return _succeeded(passed, seen, route=route, progress=progress)
    next_step = rollout.plan.steps[rollout.step + 1]
    if next_step.cutover is None and (lack := lacks_workers(rollout, next_step, seen)) is not None:
        return Stay(progress.model_copy(update={"waits_for": f"workers for the next step: {lack}"}))
    next_rollout = at_step(passed, rollout.step + 1, now_ms=seen.now_ms)
    entered = noted(
        next_rollout, "entered", place(next_rollout), now_ms=seen.now_ms, author=rollout.route_author
    )
    if next_step.cutover is not None:
        return committed(entered, None, present=route, revision=seen.route_revision)
    return _entering(rollout, seen, entered, next_step, route=route)


def _entering(rollout: Rollout, seen: Seen, entered: Rollout, step: Step, *, route: Route) -> Action:
    try:
        made = route_for(entered, step, route)
    except CallerError as error:
        return _paused(rollout, seen, (), error.message)
    return committed(entered, made, present=route, revision=seen.route_revision)


def _succeeded(rollout: Rollout, seen: Seen, *, route: Route, progress: Progress) -> Action:
    sentence = f"all {len(rollout.plan.steps)} steps passed"
    done = noted(
        in_phase(rollout, Phase.SUCCEEDED, sentence),
        "succeeded",
        sentence,
        now_ms=seen.now_ms,
        author=rollout.route_author,
        verdicts=progress.verdicts,
        report=switch_report(rollout, seen) if rollout.switched else None,
    )
    done = done.model_copy(update={"step": len(rollout.plan.steps)})
    return committed(done, route_after_success(rollout, route), present=route, revision=seen.route_revision)


def _failed(
    rollout: Rollout, seen: Seen, progress: Progress, verdicts: tuple[Verdict, ...], sentence: str
) -> Action:
    if rollout.phase is Phase.FROZEN:
        return Stay(progress.model_copy(update={"waits_for": f"somebody to abort it: {sentence}"}))
    is_frozen = rollout.plan.on_fail == "freeze"
    phase, what = (Phase.FROZEN, "frozen") if is_frozen else (Phase.ROLLED_BACK, "rolled_back")
    ended = noted(
        in_phase(rollout, phase, sentence),
        what,
        f"{place(rollout)}: {sentence}",
        now_ms=seen.now_ms,
        author=rollout.route_author,
        verdicts=verdicts,
        report=switch_report(rollout, seen) if rollout.switched or seen.check is not None else None,
    )
    back = None if is_frozen else route_back(rollout, seen.route)
    return committed(ended, back, present=seen.route, revision=seen.route_revision)


def _paused(rollout: Rollout, seen: Seen, verdicts: tuple[Verdict, ...], sentence: str) -> Commit:
    paused = noted(
        in_phase(rollout, Phase.PAUSED, sentence),
        "paused",
        sentence,
        now_ms=seen.now_ms,
        author=rollout.route_author,
        verdicts=verdicts,
    )
    revision = seen.route_revision if _is_ours(rollout, seen) else rollout.step_revision
    return Commit(paused.model_copy(update={"step_revision": revision}))
