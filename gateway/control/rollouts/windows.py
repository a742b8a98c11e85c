"""The evidence of a rollout: all since it began, since its step did, and what of both is old enough.

Evidence is summed by minutes and a window may begin inside one: what that minute held then is noted (`Mark`)
and taken off later. A begin that nobody noted, because the controller died, is the next whole minute: that
costs a little evidence and never adds any. Pure; called by `control.rollouts.observe`.
"""

from collections.abc import Callable, Iterable, Mapping

from gateway.contract.rollout import Mark, Progress, Rollout
from gateway.core.evidence.sums import Table, read
from gateway.core.rollouts.seen import Evidence

MINUTE_MS = 60_000

Sums = Mapping[str, float]
TotalOf = Callable[[str, int, int], Sums]  # a name for the window, first minute, last minute


def with_marks(
    progress: Progress, rollout: Rollout, minute: Callable[[int], Sums], *, now_ms: int
) -> Progress:
    """The progress with the marks of this rollout and step: those that are there, else new ones."""
    is_same = progress.rollout_id == rollout.rollout_id
    of_rollout = progress.rollout_mark if is_same else None
    rollout_mark = of_rollout or _begun(rollout.started_ms, minute, now_ms=now_ms)
    if rollout.plan.steps[rollout.step].cutover is not None and not rollout.switched:
        step_mark = _begun(now_ms, minute, now_ms=now_ms)  # a cutover's evidence begins with the switch
    elif is_same and progress.step == rollout.step and progress.step_mark is not None:
        step_mark = progress.step_mark
    elif rollout.step == 0:
        step_mark = rollout_mark
    else:
        step_mark = _begun(rollout.step_entered_ms, minute, now_ms=now_ms)
    return progress.model_copy(update={"rollout_mark": rollout_mark, "step_mark": step_mark})


def evidence_of(
    progress: Progress, total: TotalOf, *, maturities_s: Iterable[float], now_ms: int
) -> Evidence:
    """The windows of `progress`, which has both marks; a minute is mature when its last second is."""
    assert progress.rollout_mark is not None
    assert progress.step_mark is not None
    now = now_ms // MINUTE_MS
    mature: dict[str, dict[float, Table]] = {"rollout": {}, "step": {}}
    for age_s in sorted(set(maturities_s) - {0.0}):
        last = int((now_ms - age_s * 1000) // MINUTE_MS) - 1
        for name, mark in (("rollout", progress.rollout_mark), ("step", progress.step_mark)):
            mature[name][age_s] = _window(f"{name} older than {age_s}", mark, total, last=last)
    return Evidence(
        _window("rollout", progress.rollout_mark, total, last=now),
        _window("step", progress.step_mark, total, last=now),
        mature_rollout=mature["rollout"],
        mature_step=mature["step"],
    )


def first_minute(progress: Progress | None, rollout: Rollout) -> int:
    """From where evidence must be read."""
    if progress is not None and progress.rollout_id == rollout.rollout_id and progress.rollout_mark:
        return progress.rollout_mark.minute
    return rollout.started_ms // MINUTE_MS


def _begun(began_ms: int, minute: Callable[[int], Sums], *, now_ms: int) -> Mark:
    """A minute that is over was not noted in time; a clock that was set back is believed."""
    began, now = began_ms // MINUTE_MS, now_ms // MINUTE_MS
    if began < now:
        return Mark(minute=began + 1)
    return Mark(minute=now, sums=dict(minute(now)))


def _window(name: str, mark: Mark, total: TotalOf, *, last: int) -> Table:
    """One minute stands for all of them: only sums are asked for."""
    if last < mark.minute:
        return read({})
    sums = dict(total(name, mark.minute, last))
    for statistic, had in mark.sums.items():
        sums[statistic] = sums.get(statistic, 0.0) - had
    return read({mark.minute: sums})
