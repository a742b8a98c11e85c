"""Records are kept neither too long nor too short, and versions that ended for as long as a policy says."""

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.contract.policy import Policy
from gateway.contract.route import Route
from gateway.contract.standing import State
from gateway.core.retention import judge_records, judge_removal, routes_against

BETWEEN = {"records_min_days": 2, "records_days": 7}


def policy(**retention: Any) -> Policy:
    return Policy.model_validate({"policy": "production", "models": ["dig*"], "retention": retention})


def keeps(days: float, model: str = "digits") -> Route:
    raw = {"model": model, "split": [{"version": "1", "weight": 100}], "record": {"ttl_s": days * 86_400}}
    return Route.model_validate(raw)


@pytest.mark.parametrize(
    ("before", "after", "is_refused"),
    [
        (None, 7, False), (None, 2, False), (None, 8, True), (None, 1, True),
        (7, 8, True), (9, 8, False), (8, 9, True), (8, 8, False),
        (2, 1, True), (0.5, 1, False), (1, 0.5, True), (8, 1, True),
    ],
)  # fmt: skip
def test_what_makes_it_worse_is_refused(before: float | None, after: float, is_refused: bool) -> None:
    old = None if before is None else keeps(before)
    found = list(judge_records(policy(**BETWEEN), old, keeps(after)))
    assert [item.rule for item in found] == ["production.retention"] * is_refused


def test_no_policy_asks_for_what_no_route_can_keep() -> None:
    with pytest.raises(ValidationError, match="more than `records_days`"):
        policy(records_days=1, records_min_days=2)


def test_routes_that_broke_it_before_are_named() -> None:
    routes = [keeps(30), keeps(1, "digits-b"), keeps(5, "digits-c"), keeps(30, "fraud")]
    assert [line.partition(":")[0] for line in routes_against(policy(**BETWEEN), routes)] == [
        "digits",
        "digits-b",
    ]


def removal(state: State, ended_days: float, **retention: Any) -> list[str]:
    found = judge_removal(
        [policy(**retention)], model="digits", version="1", state=state, ended_days=ended_days
    )
    return [str(item) for item in found]


@pytest.mark.parametrize("state", [State.RETIRED, State.REJECTED])
def test_a_version_is_kept_for_its_time_after_it_ended(state: State) -> None:
    assert removal(state, 366, artefacts_days=365) == []
    [sentence] = removal(state, 364, artefacts_days=365)
    assert "it may go in 1.0 days [production.retention]" in sentence


@pytest.mark.parametrize("state", [s for s in State if s not in (State.RETIRED, State.REJECTED)])
def test_a_version_that_did_not_end_is_kept_however_old(state: State) -> None:
    [sentence] = removal(state, 4000, artefacts_days=365)
    assert "after it was retired or rejected" in sentence


def test_without_the_rule_every_version_may_go() -> None:
    assert removal(State.APPROVED, 0) == []
