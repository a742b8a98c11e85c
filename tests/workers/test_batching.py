"""Batches conserve rows, keep order, and give each caller its own rows."""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.errors import CallerError, TurnoutError
from gateway.contract.signature import Signature, TensorSpec
from workers.batching import JOIN_US, Costs, can_batch, execute, group_of, rows_of, take, wait_s


@dataclass(frozen=True, eq=False)
class Request:
    inputs: list[Any]
    rows: int
    group: Hashable


def request(number: int, rows: int, width: int = 2) -> Request:
    """Every value is the request's number."""
    inputs = [np.full((rows, width), number, np.int64)]
    return Request(inputs, rows, group_of(inputs))


REQUESTS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 3)), max_size=40).map(
    lambda sizes: [request(number, rows, width) for number, (rows, width) in enumerate(sizes)]
)


@given(REQUESTS, st.integers(1, 8))
def test_every_request_is_taken_once_and_each_group_in_its_order(requests: list[Request], limit: int) -> None:
    queue = deque(requests)
    batches = []
    while queue:
        oldest = queue[0]
        batch = take(queue, limit)
        assert batch[0] is oldest  # the oldest request of all is never passed over
        assert {entry.group for entry in batch} == {oldest.group}
        assert len(batch) == 1 or sum(entry.rows for entry in batch) <= limit
        batches.append(batch)
    taken = [entry for batch in batches for entry in batch]
    assert len(taken) == len(requests)
    for group in {entry.group for entry in requests}:
        assert [entry for entry in taken if entry.group == group] == [
            entry for entry in requests if entry.group == group
        ]


@given(REQUESTS.filter(bool), st.integers(1, 64))
def test_each_caller_gets_its_own_rows(requests: list[Request], limit: int) -> None:
    queue = deque(requests)
    while queue:
        batch = take(queue, limit)
        for entry, outcome in zip(batch, execute(lambda inputs: [inputs[0] * 10], batch), strict=True):
            assert not isinstance(outcome, TurnoutError)
            assert outcome[0].tolist() == (entry.inputs[0] * 10).tolist()


def test_a_batch_is_as_large_as_the_limit_allows() -> None:
    queue = deque(request(number, 1) for number in range(10))
    assert [len(take(queue, 4)) for _ in range(3)] == [4, 4, 2]


def test_a_request_larger_than_the_limit_runs_alone() -> None:
    queue = deque([request(0, 100), request(1, 1), request(2, 1)])
    assert [len(take(queue, 64)) for _ in range(2)] == [1, 2]


def test_inputs_that_disagree_about_rows_never_share_a_run() -> None:
    inputs = [np.zeros((2, 1)), np.zeros((3, 1))]
    assert rows_of(inputs) == 0
    odd = Request(inputs, 0, group_of(inputs))
    queue = deque([odd, odd])
    assert [len(take(queue, 64)) for _ in range(2)] == [1, 1]


def test_one_poisonous_input_fails_alone() -> None:
    def run(inputs: list[Any]) -> list[Any]:
        if (inputs[0] == 1).any():
            raise CallerError("invalid_input", "poison")
        return inputs

    first, second, third = execute(run, [request(number, 2) for number in range(3)])
    assert isinstance(second, CallerError)
    assert not isinstance(first, TurnoutError)
    assert not isinstance(third, TurnoutError)
    assert third[0].tolist() == [[2, 2], [2, 2]]


def test_a_model_that_swallows_rows_is_run_singly() -> None:
    outcomes = execute(lambda inputs: [inputs[0][:1]], [request(number, 1) for number in (4, 5)])
    assert [outcome[0].tolist() for outcome in outcomes if not isinstance(outcome, TurnoutError)] == [
        [[4, 4]],
        [[5, 5]],
    ]


def test_a_bug_in_the_runtime_is_not_taken_for_a_bad_input() -> None:
    def run(inputs: list[Any]) -> list[Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        execute(run, [request(0, 1)])


@pytest.mark.parametrize(
    ("inputs", "outputs", "is_possible"),
    [
        ([(-1, 4)], [(-1,)], True),
        ([(-1, -1)], [(-1, 4), (-1,)], True),
        ([(1, 4)], [(-1,)], False),
        ([(-1, 4)], [(1,)], False),
        ([(-1, 4), ()], [(-1,)], False),
        ([()], [()], False),
    ],
)
def test_only_a_free_first_dimension_everywhere_is_a_batch(
    inputs: Any, outputs: Any, is_possible: bool
) -> None:
    def specs(shapes: Any) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name=f"t{at}", datatype="FP32", shape=shape) for at, shape in enumerate(shapes)
        )

    assert can_batch(Signature(inputs=specs(inputs), outputs=specs(outputs))) is is_possible


def test_groups_differ_by_dimensions_and_datatypes_not_by_rows() -> None:
    assert group_of([np.zeros((1, 3))]) == group_of([np.zeros((9, 3))])
    assert group_of([np.zeros((1, 3))]) != group_of([np.zeros((1, 4))])
    assert group_of([np.zeros((1, 3))]) != group_of([np.zeros((1, 3), np.float32)])


def test_batching_pays_when_a_second_row_is_cheaper_than_a_second_run() -> None:
    tree = Costs.measured(5.0, 12.0, 64)
    assert tree.batching_pays
    assert tree.of(1) == pytest.approx(5.0)
    assert tree.of(64) == pytest.approx(12.0)
    forest = Costs.measured(11.0, 64 * 12.0, 64)
    assert not forest.batching_pays
    assert not Costs.measured(10 + JOIN_US, 64 * 10 + JOIN_US, 64).batching_pays
    assert Costs.measured(7.0, 7.0, 1) == Costs(7.0, 0.0)
    assert Costs.measured(7.0, 5.0, 64).row_us == 0  # noise never makes a row's time negative


def test_a_lone_client_is_never_delayed() -> None:
    assert wait_s(1, max_rows=64, max_delay_s=0.005, oldest_s=0, others_gap_s=float("inf")) == 0


def test_an_idle_model_waits_for_company_only_while_others_are_active_and_the_batch_has_room() -> None:
    rules = {"max_rows": 64, "max_delay_s": 0.005}
    assert wait_s(1, oldest_s=0.001, others_gap_s=0.001, **rules) == pytest.approx(0.004)  # type: ignore[arg-type]
    assert wait_s(1, oldest_s=0.001, others_gap_s=0.006, **rules) == 0  # type: ignore[arg-type]
    assert wait_s(64, oldest_s=0.001, others_gap_s=0.001, **rules) == 0  # type: ignore[arg-type]
    assert wait_s(1, oldest_s=0.009, others_gap_s=0.001, **rules) == 0  # type: ignore[arg-type]
