"""What does a step of a rollout wait for? Nothing of this is a matter of wall-clock time.

Time counts only while every live gateway serves the step's route and the candidate has the workers that the
step needs; each tick adds at most a few seconds, by a monotonic clock, so that neither a clock that jumps nor
a controller that was away can shorten a step. Called by `core.rollouts.rollout`.
"""

import math
from dataclasses import dataclass

from gateway.contract.evidence import PRIMARY, SHADOW
from gateway.contract.plan import Step
from gateway.contract.rollout import Outcome, Progress, Rollout, Verdict
from gateway.core.evidence.scores import faults
from gateway.core.evidence.sums import NOTHING
from gateway.core.rollouts.seen import Evidence, Seen

MOST_PER_TICK_S = 5.0  # a longer silence of the controller saw nothing, and counts for no more


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the candidate; None where evidence could not be read."""

    requests: int | None  # as primary since the start
    errors: int | None
    step_requests: int | None  # in either role in this step
    step_labels: int | None


def counts_of(rollout: Rollout, seen: Seen) -> Counts:
    if not isinstance(seen.evidence, Evidence):
        return Counts(None, None, None, None)
    whole = seen.evidence.rollout.roles.get((PRIMARY, rollout.candidate), NOTHING)
    step = [seen.evidence.step.roles.get((role, rollout.candidate), NOTHING) for role in (PRIMARY, SHADOW)]
    return Counts(
        requests=_whole(whole["n"]),
        errors=_whole(faults(whole)),
        step_requests=_whole(sum(sums["n"] for sums in step)),
        step_labels=_whole(sum(max(sums["rows"], sums["rwn"]) for sums in step)),
    )


def _whole(number: float) -> int:
    return round(number) if math.isfinite(number) else 0


def needed_workers(step: Step, *, ready_baseline: int) -> int:
    """Ready workers of the candidate that a step needs: its share of what the baseline has, and one."""
    share = 100.0 if step.cutover is not None else step.weight or 0.0
    if not share and not step.shadow:
        return 0
    return max(1, math.ceil(share / 100 * ready_baseline - 1e-9))


def lacks_workers(rollout: Rollout, step: Step, seen: Seen) -> str | None:
    ready = seen.ready.get(rollout.candidate, 0)
    needed = needed_workers(step, ready_baseline=seen.ready.get(rollout.baseline, 0))
    if ready >= needed:
        return None
    return (
        f"{rollout.candidate} has {ready} ready worker{'' if ready == 1 else 's'}, and {step.title} needs "
        f"{needed}: `turnout pools scale {rollout.model} {rollout.candidate} {needed}`"
    )


def why_time_stands(rollout: Rollout, step: Step, seen: Seen) -> str | None:
    """Why the time of this tick does not count; None where it does."""
    if seen.gateways <= 0:
        return "a live gateway: none is known"
    if seen.gateways_behind > 0:
        return f"{seen.gateways_behind} of {seen.gateways} gateways that do not serve this step yet"
    if step.cutover is not None and not rollout.switched:
        return None  # its workers are checked before the switch
    lack = lacks_workers(rollout, step, seen)
    return None if lack is None else f"workers: {lack}"


def counted(progress: Progress, elapsed_s: float, *, counts: bool) -> float:
    if not counts or not elapsed_s > 0:  # NaN is not above 0
        return progress.counted_s
    return progress.counted_s + min(elapsed_s, MOST_PER_TICK_S)


def why_not_passed(
    rollout: Rollout, step: Step, *, counted_s: float, counts: Counts, verdicts: tuple[Verdict, ...]
) -> list[str]:
    """What is still missing; empty = the step has passed. A promoted step lacks nothing but failures."""
    if rollout.promoted:
        return []
    missing = []
    if step.pause is not None:
        for_s = step.pause.for_s
        if for_s is None:
            return ["somebody who promotes it"]
        missing += _lack(counted_s, for_s, "s of the pause")
    missing += _lack(counted_s, step.hold.min_s, "s of this step")
    if step.cutover is not None:
        missing += _lack(counted_s, step.cutover.watch_s, "s of watching after the switch")
    missing += _lack(counts.step_requests, step.hold.min_requests, f"requests of {rollout.candidate}")
    missing += _lack(counts.step_labels, step.hold.min_labels, f"labels of {rollout.candidate}")
    missing += [
        verdict.sentence for verdict in verdicts if verdict.blocks and verdict.outcome is not Outcome.PASS
    ]
    return missing


def _lack(have: float | None, want: float, what: str) -> list[str]:
    if want <= 0 or (have is not None and have >= want):
        return []
    if have is None:
        return [f"{want:,.0f} {what} (how many there are could not be read)"]
    return [f"{want:,.0f} {what} ({math.floor(have):,} so far)"]


def reached_maximum(step: Step, *, counted_s: float, counts: Counts) -> str | None:
    hold = step.hold
    if hold.max_s is not None and counted_s >= hold.max_s:
        return f"the step has lasted {hold.max_s:g} s, its longest"
    if (
        hold.max_requests is not None
        and counts.step_requests is not None
        and counts.step_requests >= hold.max_requests
    ):
        return f"the candidate got {counts.step_requests:,} requests in it, {hold.max_requests:,} at most"
    return None


def blast_radius(rollout: Rollout, counts: Counts, *, units: int | None) -> tuple[str | None, str | None]:
    """(which limit was reached, which limit could not be looked at)."""
    limits = rollout.plan.limits
    unknown = None
    for name, limit, have in (
        ("units", limits.units, units),
        ("requests", limits.requests, counts.requests),
        ("errors", limits.errors, counts.errors),
    ):
        if limit is None:
            continue
        if have is None:
            unknown = f"the limit of {limit:,} {name}: how many there are is not known"
        elif have > limit:
            return f"blast radius reached: {have:,} {name} of {rollout.candidate}, {limit:,} at most", None
    return None, unknown
