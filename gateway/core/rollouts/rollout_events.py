"""The transitions of a rollout: what changes in its document, with the event that tells of it.

Each function returns a `Commit`. Whether the transition is due is decided by `core.rollouts.rollout` and
`core.rollouts.rollout_commands`. `revision` is that of the present route: what a commit without a route goes
on with.
"""

from dataclasses import asdict
from typing import Any

from gateway.contract.evidence import PRIMARY
from gateway.contract.rollout import MAX_EVENTS, Event, Phase, Rollout, Verdict
from gateway.contract.route import Route
from gateway.core.evidence.sums import NOTHING, Sums, Table
from gateway.core.evidence.traffic import traffic_in
from gateway.core.rollouts.rollout_actions import Commit
from gateway.core.rollouts.seen import CutoverCheck, Evidence, Seen


def noted(
    rollout: Rollout,
    what: str,
    sentence: str,
    *,
    now_ms: int,
    author: str,
    verdicts: tuple[Verdict, ...] = (),
    report: dict[str, Any] | None = None,
) -> Rollout:
    """The rollout with one more event about its present step."""
    event = Event(
        at_ms=now_ms,
        step=rollout.step,
        what=what,
        author=author,
        sentence=sentence,
        verdicts=verdicts,
        report=report,
    )
    return rollout.model_copy(update={"events": (*rollout.events, event)[-MAX_EVENTS:]})


def committed(rollout: Rollout, route: Route | None, *, present: Route | None, revision: int) -> Commit:
    """With `route` only where it differs from the present one."""
    if route is None or route == present:
        return Commit(rollout.model_copy(update={"step_revision": revision}))
    return Commit(rollout.model_copy(update={"step_revision": None}), route)


def in_phase(rollout: Rollout, phase: Phase, sentence: str) -> Rollout:
    return rollout.model_copy(update={"phase": phase, "sentence": sentence, "promoted": False})


def at_step(rollout: Rollout, step: int, *, now_ms: int) -> Rollout:
    return rollout.model_copy(
        update={"step": step, "step_entered_ms": now_ms, "promoted": False, "switched": False}
    )


def place(rollout: Rollout) -> str:
    """`step 2 of 5 (weight 5 %)`, counted as people do."""
    steps = rollout.plan.steps
    if rollout.step >= len(steps):
        return "the end"
    return f"step {rollout.step + 1} of {len(steps)} ({steps[rollout.step].title})"


def switch_report(rollout: Rollout, seen: Seen) -> dict[str, Any]:
    """What was checked, and what clients saw: before the switch, and since it where it has been."""
    report: dict[str, Any] = {}
    if seen.check is not None:
        report["checked"] = _checked(seen.check)
    if isinstance(seen.evidence, Evidence):
        if rollout.switched:
            report["before"] = asdict(traffic_in(_without(seen.evidence.rollout, seen.evidence.step)))
            report["since"] = asdict(traffic_in(seen.evidence.step))
        else:
            report["before"] = asdict(traffic_in(seen.evidence.rollout))
    return report


def _checked(check: CutoverCheck) -> dict[str, Any]:
    return {
        "workers": check.workers,
        "warmed_requests": check.warmed_requests,
        "golden_passed": check.golden_passed,
        "golden_of": check.golden_of,
        "problems": list(check.problems),
    }


def _without(whole: Table, part: Table) -> Table:
    """What the primaries did outside of a part."""
    left = {}
    for (role, version), sums in whole.roles.items():
        if role == PRIMARY:
            taken = part.roles.get((role, version), NOTHING)
            left[role, version] = Sums(
                {name: value - taken.values.get(name, 0.0) for name, value in sums.values.items()}
            )
    return Table(left, {}, {})
