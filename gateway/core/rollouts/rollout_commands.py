"""What a person may do to a rollout: start, pause, resume, promote, abort.

Each is a pure function that gives the commit to make, or raises CallerError with what to do instead. They get
the rollout as read from its envelope (`rollout.as_of(envelope.revision)`), and the present route with its
revision and author. Called by the control API, which commits in the person's name.
"""

from gateway.contract.errors import CallerError
from gateway.contract.plan import Plan
from gateway.contract.rollout import Phase, Rollout
from gateway.contract.route import Route
from gateway.core.rollouts.rollout_actions import Commit
from gateway.core.rollouts.rollout_events import committed, in_phase, noted, place
from gateway.core.rollouts.rollout_route import heaviest, route_back, route_for, route_now, share_of


def started(
    plan: Plan,
    *,
    route: Route | None,
    route_revision: int,
    rollout_id: str,
    author: str,
    now_ms: int,
    reason: str = "",
    running: Rollout | None = None,
) -> Commit:
    """The rollout at its first step. `running` is the newest rollout of the model, if there is one."""
    model, candidate = plan.model, plan.candidate
    if model is None or candidate is None:
        raise CallerError("invalid_document", "a plan needs `model` and `candidate` to be started")
    if running is not None and not running.is_over:
        raise CallerError(
            "refused",
            f"a rollout of {model} to {running.candidate} is {running.phase.value}: abort it first "
            f"(`turnout rollout abort {model}`)",
        )
    if route is None:
        raise CallerError(
            "no_route", f"{model} has no route: create one with `turnout route split {model} VERSION=100`"
        )
    baseline = plan.baseline or heaviest(route, but=candidate)
    if plan.baseline is not None and share_of(route, plan.baseline) <= 0:
        raise CallerError("refused", f"the baseline {plan.baseline} answers no requests of {model}")
    if baseline is None or share_of(route, candidate) >= 100:
        raise CallerError("refused", f"{candidate} answers all requests of {model} already")
    rollout = Rollout(
        rollout_id=rollout_id,
        model=model,
        baseline=baseline,
        candidate=candidate,
        plan=plan,
        author=author,
        reason=reason,
        started_ms=now_ms,
        step_entered_ms=now_ms,
        before=route,
    )
    sentence = f"{candidate} against {baseline}, {place(rollout)}"
    rollout = noted(rollout, "started", sentence, now_ms=now_ms, author=author)
    step = plan.steps[0]
    made = None if step.cutover is not None else route_for(rollout, step, route)
    return committed(rollout, made, present=route, revision=route_revision)


def paused(rollout: Rollout, *, author: str, now_ms: int, reason: str = "") -> Commit:
    """Traffic stays as it is; a FAIL still rolls back."""
    _alive(rollout, "paused")
    if rollout.phase is not Phase.RUNNING:
        raise CallerError("refused", f"it is {rollout.phase.value} already: {rollout.sentence}")
    sentence = f"paused by {author}" + (f": {reason}" if reason else "")
    return Commit(
        noted(in_phase(rollout, Phase.PAUSED, sentence), "paused", sentence, now_ms=now_ms, author=author)
    )


def resumed(
    rollout: Rollout, *, route: Route | None, route_revision: int, author: str, now_ms: int
) -> Commit:
    """Goes on at its step; where somebody changed the route, the step is put on top of that change."""
    _alive(rollout, "resumed")
    if rollout.phase is Phase.RUNNING:
        raise CallerError("refused", f"it runs already, at {place(rollout)}")
    if route is None:
        raise CallerError(
            "no_route",
            f"{rollout.model} has no route any more: bring it back with `turnout route rollback "
            f"{rollout.model}`, or abort the rollout",
        )
    running = noted(
        in_phase(rollout, Phase.RUNNING, ""),
        "resumed",
        f"resumed by {author} at {place(rollout)}",
        now_ms=now_ms,
        author=author,
    )
    return committed(running, route_now(rollout, route), present=route, revision=route_revision)


def promoted(rollout: Rollout, *, route_revision: int, route_author: str, author: str, now_ms: int) -> Commit:
    """Lets the present step pass in spite of HOLD, ERROR and minima; never in spite of FAIL."""
    _alive(rollout, "promoted")
    if rollout.phase is Phase.FROZEN:
        raise CallerError(
            "refused", f"a gate failed: {rollout.sentence}. Abort it, or resume it to have it judged again"
        )
    if rollout.step_revision not in (None, route_revision) and route_author != rollout.route_author:
        raise CallerError(
            "refused", f"{route_author} changed the route: resume the rollout first, or abort it"
        )
    sentence = f"{place(rollout)} promoted by {author}"
    running = in_phase(rollout, Phase.RUNNING, "").model_copy(
        update={"promoted": True, "step_revision": route_revision}
    )
    return Commit(noted(running, "promoted", sentence, now_ms=now_ms, author=author))


def aborted(
    rollout: Rollout,
    *,
    route: Route | None,
    route_revision: int,
    author: str,
    now_ms: int,
    reason: str = "",
    keep_route: bool = False,
) -> Commit:
    """Ends it in any phase, with the traffic as it was before; `keep_route` leaves the traffic alone."""
    _alive(rollout, "aborted")
    back = None if keep_route else route_back(rollout, route)
    sentence = f"aborted by {author}" + (f": {reason}" if reason else "")
    if route is None:
        sentence += f" ({rollout.model} has no route any more)"
    elif keep_route:
        sentence += " (the route was left as it is)"
    ended = noted(
        in_phase(rollout, Phase.ABORTED, sentence), "aborted", sentence, now_ms=now_ms, author=author
    )
    return committed(ended, back, present=route, revision=route_revision)


def _alive(rollout: Rollout, done: str) -> None:
    if rollout.is_over:
        raise CallerError(
            "refused",
            f"the rollout has {rollout.phase.value.replace('_', ' ')} and cannot be {done}: start a new one",
        )
