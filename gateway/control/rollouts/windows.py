"""The evidence of a rollout: all since it began, since its step did, and what of both is old enough.

Evidence is summed by minutes and a window may begin inside one: what that minute held then is noted (`Mark`)
and taken off later. A begin that nobody noted, because the controller died, is the next whole minute: that
costs a little evidence and never adds any. Pure; called by `control.rollouts.observe`.
"""

from collections.abc import Iterable, Mapping

from gateway.contract.rollout import Mark, Progress, Rollout
from gateway.core.seen import Evidence
from gateway.core.sums import Table, read

Minutes = Mapping[int, Mapping[str, float]]
MINUTE_MS = 60_000


def with_marks(progress: Progress, rollout: Rollout, minutes: Minutes, *, now_ms: int) -> Progress:
    """The progress with the marks of this rollout and step: those that are there, else new ones."""
    is_same = progress.rollout_id == rollout.rollout_id
    of_rollout = progress.rollout_mark if is_same else None
    rollout_mark = of_rollout or _begun(rollout.started_ms, minutes, now_ms=now_ms)
    if rollout.plan.steps[rollout.step].cutover is not None and not rollout.switched:
        step_mark = _begun(now_ms, minutes, now_ms=now_ms)  # a cutover's evidence begins with the switch
    elif is_same and progress.step == rollout.step and progress.step_mark is not None:
        step_mark = progress.step_mark
    else:
        step_mark = (
            rollout_mark if rollout.step == 0 else _begun(rollout.step_entered_ms, minutes, now_ms=now_ms)
        )
    return progress.model_copy(update={"rollout_mark": rollout_mark, "step_mark": step_mark})


def evidence_of(
    progress: Progress, minutes: Minutes, *, maturities_s: Iterable[float], now_ms: int
) -> Evidence:
    """The windows of `progress`, which has both marks; a minute is mature when its last second is."""
    assert progress.rollout_mark is not None
    assert progress.step_mark is not None
    in_rollout = _window(progress.rollout_mark, minutes)
    in_step = _window(progress.step_mark, minutes)
    whole = Evidence(read(in_rollout), read(in_step))
    wanted = sorted(set(maturities_s) - {0.0})
    return Evidence(
        whole.rollout,
        whole.step,
        mature_rollout={age_s: _mature(in_rollout, age_s, now_ms=now_ms) for age_s in wanted},
        mature_step={age_s: _mature(in_step, age_s, now_ms=now_ms) for age_s in wanted},
    )


def first_minute(progress: Progress | None, rollout: Rollout) -> int:
    """From where evidence must be read."""
    if progress is not None and progress.rollout_id == rollout.rollout_id and progress.rollout_mark:
        return progress.rollout_mark.minute
    return rollout.started_ms // MINUTE_MS


def _begun(began_ms: int, minutes: Minutes, *, now_ms: int) -> Mark:
    """A minute that is over was not noted in time; a clock that was set back is believed."""
    began, now = began_ms // MINUTE_MS, now_ms // MINUTE_MS
    if began < now:
        return Mark(minute=began + 1)
    return Mark(minute=now, sums=dict(minutes.get(now, {})))


def _window(mark: Mark, minutes: Minutes) -> dict[int, Mapping[str, float]]:
    found = {minute: sums for minute, sums in minutes.items() if minute >= mark.minute}
    if mark.minute in found and mark.sums:
        sums = found[mark.minute]
        found[mark.minute] = {name: value - mark.sums.get(name, 0.0) for name, value in sums.items()}
    return found


def _mature(minutes: Minutes, age_s: float, *, now_ms: int) -> Table:
    last_ms = now_ms - age_s * 1000
    return read({minute: sums for minute, sums in minutes.items() if (minute + 1) * MINUTE_MS <= last_ms})
