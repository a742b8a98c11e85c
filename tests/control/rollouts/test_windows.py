"""Which evidence belongs to a rollout and to its step: nothing from before, too young, or lost."""

import random
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.plan import Plan
from gateway.contract.rollout import Mark, Progress, Rollout
from gateway.contract.route import Route
from gateway.control.rollouts.recent import IN_TURN, Recent
from gateway.control.rollouts.windows import evidence_of, with_marks
from gateway.store.predictions import Predictions

MINUTE_MS = 60_000
AT_MS = 100 * MINUTE_MS + 30_000
ROUTE = Route.model_validate({"model": "m", "split": [{"version": "1", "weight": 100}]})


def rollout(**fields: Any) -> Rollout:
    plan = Plan.model_validate({"steps": [{"weight": 10}, {"weight": 50}, {"cutover": {}}]})
    usual: dict[str, Any] = {"started_ms": AT_MS, "step_entered_ms": AT_MS}
    return Rollout(
        rollout_id="r", model="m", baseline="1", candidate="2", plan=plan, author="a", before=ROUTE,
        **(usual | fields),
    )  # fmt: skip


def minute_of(minutes: Any) -> Any:
    return lambda minute: minutes.get(minute, {})


def total_of(minutes: Any) -> Any:
    def total(window: str, first: int, last: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for minute in range(first, last + 1):
            for name, value in minutes.get(minute, {}).items():
                found[name] = found.get(name, 0.0) + value
        return found

    return total


def fresh(step: int = 0) -> Progress:
    return Progress(rollout_id="r", step=step)


def asked(progress: Progress, minutes: Any, *, now_ms: int, maturity_s: float = 0) -> tuple[float, ...]:
    """Requests of the candidate: in the rollout, in the step, and of both those that are mature."""
    found = evidence_of(progress, total_of(minutes), maturities_s=[maturity_s], now_ms=now_ms)
    tables = [found.rollout, found.step]
    if maturity_s:
        tables += [found.mature_rollout[maturity_s], found.mature_step[maturity_s]]
    return tuple(table.both_roles("2")["n"] for table in tables)


def test_what_the_begun_minute_held_is_taken_off() -> None:
    marked = with_marks(fresh(), rollout(), minute_of({100: {"p|2|n": 40.0}}), now_ms=AT_MS)
    later = {99: {"p|2|n": 1000.0}, 100: {"p|2|n": 47.0}, 101: {"p|2|n": 5.0}}
    assert asked(marked, later, now_ms=AT_MS + MINUTE_MS) == (12, 12)


def test_a_sum_that_may_fall_is_taken_off_too() -> None:
    marked = with_marks(fresh(), rollout(), minute_of({100: {"p|2|rw": 3.0}}), now_ms=AT_MS)
    total = total_of({100: {"p|2|rw": -1.0}})
    found = evidence_of(marked, total, maturities_s=[], now_ms=AT_MS)
    assert found.rollout.both_roles("2")["rw"] == -4


def test_a_begin_that_nobody_noted_is_the_next_whole_minute() -> None:
    """The controller was away: what the minute held when the rollout began is not known any more."""
    minutes = {100: {"p|2|n": 40.0}, 101: {"p|2|n": 5.0}}
    marked = with_marks(fresh(), rollout(), minute_of(minutes), now_ms=AT_MS + 3 * MINUTE_MS)
    assert marked.rollout_mark == Mark(minute=101)
    assert asked(marked, minutes, now_ms=AT_MS + 3 * MINUTE_MS) == (5, 5)


def test_a_step_has_its_own_window_and_a_mark_stays() -> None:
    first = with_marks(fresh(), rollout(), minute_of({}), now_ms=AT_MS)
    entered_ms = AT_MS + MINUTE_MS
    minutes = {100: {"p|2|n": 10.0}, 101: {"p|2|n": 20.0}}
    entered = fresh(step=1).model_copy(update={"rollout_mark": first.rollout_mark})
    second = with_marks(
        entered, rollout(step=1, step_entered_ms=entered_ms), minute_of(minutes), now_ms=entered_ms
    )
    more = {**minutes, 101: {"p|2|n": 23.0}}
    again = with_marks(
        second, rollout(step=1, step_entered_ms=entered_ms), minute_of(more), now_ms=entered_ms + 9000
    )
    assert again == second
    assert asked(again, more, now_ms=entered_ms + 9000) == (33, 3)


def test_another_rollouts_marks_are_not_taken_over() -> None:
    other = Progress(rollout_id="x", step=0, rollout_mark=Mark(minute=1), step_mark=Mark(minute=1))
    marked = with_marks(other, rollout(), minute_of({}), now_ms=AT_MS)
    assert marked.rollout_mark == marked.step_mark == Mark(minute=100)


def test_the_evidence_of_a_cutover_begins_with_its_switch() -> None:
    waiting = rollout(step=2)
    progress = with_marks(fresh(step=2), waiting, minute_of({100: {"p|2|n": 1.0}}), now_ms=AT_MS)
    progress = with_marks(progress, waiting, minute_of({100: {"p|2|n": 9.0}}), now_ms=AT_MS + 1000)
    switched = rollout(step=2, switched=True)
    progress = with_marks(progress, switched, minute_of({100: {"p|2|n": 11.0}}), now_ms=AT_MS + 2000)
    assert asked(progress, {100: {"p|2|n": 11.0}}, now_ms=AT_MS + 2000) == (10, 2)


def test_a_minute_is_mature_when_its_last_second_is() -> None:
    marked = with_marks(fresh(), rollout(), minute_of({}), now_ms=AT_MS)
    minutes = {100: {"p|2|n": 1.0}, 101: {"p|2|n": 10.0}}
    end_ms = 101 * MINUTE_MS
    for now_ms, mature in ((end_ms + 29_999, 0), (end_ms + 30_000, 1), (end_ms + MINUTE_MS + 30_000, 11)):
        assert asked(marked, minutes, now_ms=now_ms, maturity_s=30)[2:] == (mature, mature)


@pytest.mark.parametrize("age", [1, 50, 100])
async def test_a_label_that_comes_late_is_seen_after_some_looks(redis: Redis, age: int) -> None:
    recent = Recent(Predictions(redis), "m", first_minute=900)
    for minute in range(900, 1001):
        await redis.hset(keys.evidence("m", minute), "p|2|l", "1")
    await recent.read(1000)
    assert recent.total("rollout", 900, 1000)["p|2|l"] == 101
    await redis.hset(keys.evidence("m", 1000 - age), "p|2|l", "3")
    for _ in range(100 // IN_TURN + 2):
        await recent.read(1000)
    assert recent.total("rollout", 900, 1000)["p|2|l"] == 103
    assert recent.total("rollout", 1000 - age, 1000)["p|2|l"] == age + 3  # another first minute: counted anew


async def test_a_total_that_is_kept_is_the_sum_of_its_minutes(redis: Redis) -> None:
    """Minutes come and change in any order; windows grow and begin anew."""
    chance = random.Random(7)
    recent = Recent(Predictions(redis), "m", first_minute=100)
    now = 110
    for _ in range(80):
        now += chance.random() < 0.2
        minute = chance.randrange(100, now + 1)
        statistic = chance.choice(("n", "rw"))
        await redis.hincrby(keys.evidence("m", minute), f"p|2|{statistic}", chance.choice((3, 1, -2)))
        for _ in range(5):
            await recent.read(now)
        for window, first, last in (("all", 100, now), ("late", 105, now), ("old", 100, now - 4)):
            stored = await Predictions(redis).evidence("m", first, last)
            for name in ("p|2|n", "p|2|rw"):
                expected = sum(sums.get(name, 0.0) for sums in stored.values())
                assert recent.total(window, first, last).get(name, 0.0) == expected
