"""Who is started, stopped and waited with; all times are given."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from workers.staffing import (
    Action,
    Backoff,
    Kill,
    Member,
    Patience,
    Refuse,
    Start,
    Stop,
    after_crash,
    decide,
)

ONE = ("digits", "1")
TWO = ("digits", "2")
PATIENCE = Patience(first_s=0.2, max_s=10.0, healthy_s=30.0, quick_failures=100, quarantine_s=300.0)
MANY = 100


def member(
    worker_id: str, *, pool: tuple[str, str] = ONE, started_s: float = 0.0, stop_by_s: float | None = None
) -> Member:
    return Member(worker_id, pool, started_s, stop_by_s)


def test_missing_workers_are_started_and_nothing_else() -> None:
    assert decide({ONE: 2, TWO: 0}, [member("a")], {}, 0.0, most=MANY) == [Start(ONE)]


def test_the_youngest_are_stopped_first() -> None:
    members = [member("old", started_s=1), member("young", started_s=3), member("middle", started_s=2)]
    assert decide({ONE: 1}, members, {}, 5.0, most=MANY) == [Stop("middle"), Stop("young")]


def test_a_version_that_is_no_longer_wanted_loses_its_workers() -> None:
    assert decide({}, [member("a")], {}, 0.0, most=MANY) == [Stop("a")]


def test_a_worker_that_drains_is_replaced_and_gets_its_time() -> None:
    draining = member("a", stop_by_s=30.0)
    assert decide({ONE: 1}, [draining], {}, 10.0, most=MANY) == [Start(ONE)]
    assert decide({}, [draining], {}, 10.0, most=MANY) == []
    assert decide({}, [draining], {}, 30.0, most=MANY) == [Kill("a")]


def test_a_pool_that_crashed_waits_and_others_do_not() -> None:
    backoffs = {ONE: Backoff(1, not_before_s=5.0)}
    assert decide({ONE: 1, TWO: 1}, [], backoffs, 4.9, most=MANY) == [Start(TWO)]
    assert decide({ONE: 1, TWO: 1}, [], backoffs, 5.0, most=MANY) == [Start(ONE), Start(TWO)]


def test_the_wait_doubles_to_its_limit_and_a_healthy_life_ends_it() -> None:
    backoff = None
    waits = []
    for _ in range(8):
        backoff = after_crash(backoff, lived_s=1.0, now_s=100.0, patience=PATIENCE)
        waits.append(round(backoff.not_before_s - 100, 3))
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert after_crash(backoff, lived_s=30.0, now_s=0.0, patience=PATIENCE) == Backoff(1, 0.2)


ENDLESS = replace(PATIENCE, quick_failures=10**9)


def test_a_thousand_crashes_do_not_overflow() -> None:
    assert after_crash(Backoff(10**6, 0.0), lived_s=0, now_s=0.0, patience=ENDLESS).not_before_s == 10.0


def test_quick_failures_in_a_row_are_a_crash_loop_and_wait_long() -> None:
    patience = replace(PATIENCE, quick_failures=3)
    backoff = None
    for _ in range(2):
        backoff = after_crash(backoff, lived_s=1.0, now_s=0.0, patience=patience)
        assert not backoff.is_loop
    assert after_crash(backoff, lived_s=1.0, now_s=0.0, patience=patience) == Backoff(3, 300.0, is_loop=True)
    assert not after_crash(backoff, lived_s=31.0, now_s=0.0, patience=patience).is_loop


def test_a_full_machine_starts_who_comes_first_and_refuses_the_rest() -> None:
    draining = member("a", pool=("other", "1"), stop_by_s=30.0)
    assert decide({TWO: 1, ONE: 2}, [draining], {}, 0.0, most=3) == [Start(TWO), Start(ONE), Refuse(ONE)]
    assert decide({TWO: 1}, [draining], {}, 0.0, most=1) == [Refuse(TWO)]


COUNTS = st.dictionaries(st.sampled_from([ONE, TWO, ("other", "1")]), st.integers(0, 4))


@given(COUNTS, COUNTS, st.integers(0, 3))
def test_what_is_done_leads_to_what_is_wanted(
    wanted: dict[tuple[str, str], int], present: dict[tuple[str, str], int], draining: int
) -> None:
    members = [
        member(f"{pool}-{number}", pool=pool, started_s=number)
        for pool, count in present.items()
        for number in range(count)
    ]
    members += [member(f"gone-{number}", stop_by_s=99.0) for number in range(draining)]
    actions: list[Action] = decide(wanted, members, {}, 0.0, most=MANY)
    working = {pool: count for pool, count in present.items() if count}
    pool_of = {one.worker_id: one.pool for one in members}
    for action in actions:
        assert not isinstance(action, Kill | Refuse)
        pool = action.pool if isinstance(action, Start) else pool_of[action.worker_id]
        working[pool] = working.get(pool, 0) + (1 if isinstance(action, Start) else -1)
    assert {pool: count for pool, count in working.items() if count} == {
        pool: count for pool, count in wanted.items() if count
    }
