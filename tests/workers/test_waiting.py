"""Who shares a run: each request once, in its turn; nobody waits for more runs than were before it."""

from collections.abc import Hashable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.waiting import SWEEP_AT, Waiting


@dataclass(eq=False)
class Request:
    rows: int
    group: Hashable = None
    is_waiting: bool = False
    before: int = 0  # how many waited when it came
    runs: int = 0  # that it has seen since, without being in one
    overtaken_by: list["Request"] = field(default_factory=list)


def waiting_of(*requests: Request) -> Waiting[Request]:
    waiting: Waiting[Request] = Waiting()
    for request in requests:
        waiting.add(request)
    return waiting


def batches(waiting: Waiting[Request], max_rows: int) -> list[list[Request]]:
    taken = []
    while waiting.count:
        taken.append(waiting.take(max_rows))
    return taken


# What happens to a queue: a request comes (rows, group), a run begins, or a waiting request is given up.
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 9), st.sampled_from("abc")),
        st.just("run"),
        st.floats(0, 1, exclude_max=True),
    ),
    max_size=120,
)


@given(EVENTS, st.integers(1, 8), st.booleans())
def test_whatever_comes_and_goes_each_is_taken_once_and_in_turn(
    events: list[object], max_rows: int, is_one_group: bool
) -> None:
    waiting: Waiting[Request] = Waiting()
    here: list[Request] = []  # in order of arrival
    for event in [*events, *["run"] * len(events)]:
        if isinstance(event, tuple):
            rows, group = event
            here.append(Request(rows, None if is_one_group else group, before=len(here)))
            waiting.add(here[-1])
        elif isinstance(event, float) and here:
            gone = here.pop(int(event * len(here)))
            waiting.remove(gone)
            waiting.remove(gone)  # a second time is no matter
        elif event == "run" and here:
            check_run(waiting.take(max_rows), here, max_rows)
        assert (waiting.count, waiting.rows) == (len(here), sum(request.rows for request in here))
    assert not here


def check_run(batch: list[Request], here: list[Request], max_rows: int) -> None:
    """Checks the batch against the rules, and takes it out of `here`."""
    head = here[0]
    assert batch[0] is head  # the oldest of all is never passed over
    assert {request.group for request in batch} == {head.group}
    assert len(batch) == 1 or sum(request.rows for request in batch) <= max_rows
    assert len(batch) == 1 or all(request.rows for request in batch)
    # Within the group nobody is overtaken.
    assert batch == [request for request in here if request.group == head.group][: len(batch)]
    for request in batch:
        # Nobody waits for more runs than there were requests before it, so by no more than their rows beyond
        # one each can later ones of other groups come first.
        assert request.runs <= request.before
        later = [other for other in request.overtaken_by if other.group != request.group]
        assert sum(other.rows for other in later) <= request.before * (max_rows - 1)
        at = here.index(request)
        for older in here[:at]:
            if older not in batch:
                older.overtaken_by.append(request)
    here[:] = [request for request in here if request not in batch]
    for request in here:
        request.runs += 1


def test_a_batch_is_as_large_as_the_limit_allows() -> None:
    waiting = waiting_of(*(Request(1) for _ in range(10)))
    assert [len(batch) for batch in batches(waiting, 4)] == [4, 4, 2]


def test_a_request_larger_than_the_limit_runs_alone() -> None:
    waiting = waiting_of(Request(100), Request(1), Request(1))
    assert [len(batch) for batch in batches(waiting, 64)] == [1, 2]


def test_inputs_that_disagree_about_rows_never_share_a_run() -> None:
    waiting = waiting_of(Request(1), Request(0), Request(0), Request(1), Request(1))
    assert [len(batch) for batch in batches(waiting, 64)] == [1, 1, 1, 2]


def test_a_large_request_amid_a_stream_of_small_ones_is_in_the_second_run() -> None:
    large = Request(64)
    waiting = waiting_of(*(Request(1) for _ in range(3)), large)
    for _ in range(1000):
        waiting.add(Request(1))
    assert [len(waiting.take(64)) for _ in range(3)] == [3, 1, 64]


def test_a_small_request_amid_large_ones_keeps_its_turn() -> None:
    small = Request(1)
    waiting = waiting_of(Request(64), Request(64), small, *(Request(64) for _ in range(10)))
    assert [small in waiting.take(64) for _ in range(3)] == [False, False, True]


def test_one_request_of_another_group_is_not_flooded_away() -> None:
    other = Request(1, "b")
    waiting = waiting_of(*(Request(1, "a") for _ in range(100)), other)
    taken = []
    while other.is_waiting:
        taken.append(waiting.take(64))
        for _ in range(64):
            waiting.add(Request(1, "a"))
    assert len(taken) == 3  # 64 and 36 that were before it; later ones only fill up the second run
    assert other in taken[-1]


def test_requests_that_were_given_up_are_not_kept() -> None:
    waiting = waiting_of(Request(1, "a"))
    for number in range(10 * SWEEP_AT):
        request = Request(1, number % 7)
        waiting.add(request)
        waiting.remove(request)
    assert len(waiting._order) <= 2 * SWEEP_AT + 2
    assert sum(map(len, waiting._lines.values())) <= 2 * SWEEP_AT + 2
    assert len(waiting.take(8)) == 1


def test_groups_that_nobody_waits_in_are_not_kept() -> None:
    waiting = waiting_of()
    for number in range(10):
        for other in range(3):
            waiting.add(Request(1, (number, other)))
        assert len(batches(waiting, 8)) == 3
        assert not waiting._lines


class Counted(Request):
    """Counts how often anybody looks whether it still waits."""

    looks = 0

    def __getattribute__(self, name: str) -> object:
        if name == "is_waiting":
            Counted.looks += 1
        return super().__getattribute__(name)


@pytest.mark.parametrize("group", [None, "one", "each"])
def test_leaving_costs_the_same_however_many_wait(group: str | None) -> None:
    requests = [Counted(1, at if group == "each" else group) for at in range(4096)]
    waiting = waiting_of(*requests)
    Counted.looks = 0
    for request in reversed(requests):
        waiting.remove(request)
    assert waiting.count == 0
    assert Counted.looks < 8 * len(requests)  # a search through the line would look 4096 / 2 times at each
