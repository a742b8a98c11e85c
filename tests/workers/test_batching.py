"""Batches conserve rows, keep order, and give each caller its own rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.errors import CallerError
from gateway.contract.signature import Signature, TensorSpec
from workers.batching import JOIN_US, Costs, Outcome, Pace, can_batch, execute, group_of, rows_of, wait_s
from workers.shares import Outputs


@dataclass(frozen=True, eq=False)
class Request:
    inputs: list[Any]
    rows: int


def request(number: int, rows: int) -> Request:
    """Every value is the request's number."""
    return Request([np.full((rows, 2), number, np.int64)], rows)


def values(outcome: Outcome) -> Any:
    assert isinstance(outcome, Outputs)
    return outcome.array(0).tolist()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40))
def test_each_caller_gets_its_own_rows(sizes: list[int]) -> None:
    batch = [request(number, rows) for number, rows in enumerate(sizes)]
    for entry, outcome in zip(batch, execute(lambda inputs: [inputs[0] * 10], batch), strict=True):
        assert values(outcome) == (entry.inputs[0] * 10).tolist()


def test_strings_share_a_run_too() -> None:
    batch = [Request([np.array([[text]], dtype=object)], 1) for text in ("a", "b")]
    assert [values(outcome) for outcome in execute(lambda inputs: inputs, batch)] == [[["a"]], [["b"]]]


def test_inputs_that_disagree_about_rows_have_none() -> None:
    assert rows_of([np.zeros((2, 1)), np.zeros((3, 1))]) == 0
    assert rows_of([np.zeros(())]) == 0
    assert rows_of([np.zeros((2, 1)), np.zeros(2)]) == 2


def test_one_poisonous_input_fails_alone() -> None:
    def run(inputs: list[Any]) -> list[Any]:
        if (inputs[0] == 1).any():
            raise CallerError("invalid_input", "poison")
        return inputs

    first, second, third = execute(run, [request(number, 2) for number in range(3)])
    assert isinstance(second, CallerError)
    assert values(first) == [[0, 0], [0, 0]]
    assert values(third) == [[2, 2], [2, 2]]


def test_a_model_that_swallows_rows_is_run_singly() -> None:
    outcomes = execute(lambda inputs: [inputs[0][:1]], [request(number, 1) for number in (4, 5)])
    assert [values(outcome) for outcome in outcomes] == [[[4, 4]], [[5, 5]]]


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


def test_a_queue_takes_its_rows_and_as_few_runs_as_the_rules_allow() -> None:
    costs = Costs(100.0, 2.0)
    assert costs.of_queue(0, 0, max_rows=8) == 0
    assert costs.of_queue(16, 16, max_rows=8) == 2 * 100 + 16 * 2
    assert costs.of_queue(17, 17, max_rows=8) == 3 * 100 + 17 * 2
    assert costs.of_queue(1, 50, max_rows=8) == 100 + 50 * 2  # larger than a batch: one run
    assert costs.of_queue(5, 50, max_rows=1) == 5 * 100 + 50 * 2


def test_the_pace_follows_what_runs_take_and_one_stall_hardly_moves_it() -> None:
    pace = Pace()
    pace.saw(1e9, 10.0)
    assert pace.factor == pytest.approx(1.1)
    for _ in range(100):
        pace.saw(50.0, 10.0)
    assert pace.factor == pytest.approx(5.0, rel=0.01)
    for _ in range(100):
        pace.saw(5.0, 10.0)
    assert pace.factor == pytest.approx(0.5, rel=0.01)
    pace.saw(5.0, 0.0)  # nothing was expected: nothing is learnt
    assert pace.factor == pytest.approx(0.5, rel=0.01)


def test_a_lone_client_is_never_delayed() -> None:
    assert wait_s(1, max_rows=64, max_delay_s=0.005, oldest_s=0, others_gap_s=float("inf")) == 0


def test_an_idle_model_waits_for_company_only_while_others_are_active_and_the_batch_has_room() -> None:
    rules = {"max_rows": 64, "max_delay_s": 0.005}
    assert wait_s(1, oldest_s=0.001, others_gap_s=0.001, **rules) == pytest.approx(0.004)  # type: ignore[arg-type]
    assert wait_s(1, oldest_s=0.001, others_gap_s=0.006, **rules) == 0  # type: ignore[arg-type]
    assert wait_s(64, oldest_s=0.001, others_gap_s=0.001, **rules) == 0  # type: ignore[arg-type]
    assert wait_s(1, oldest_s=0.009, others_gap_s=0.001, **rules) == 0  # type: ignore[arg-type]
