"""`gateway.core.rollouts.rollout_commands` and `rollout_route`: what people may do, and which route it
makes."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.contract.errors import CallerError
from gateway.contract.plan import Plan, Step
from gateway.contract.rollout import Phase, Rollout
from gateway.contract.route import Route
from gateway.core.rollouts.rollout_actions import Commit
from gateway.core.rollouts.rollout_commands import aborted, paused, promoted, resumed, started
from gateway.core.rollouts.rollout_route import route_back, route_for, route_now
from tests.core.rollouts.examples import begun, performed, plan, route, shadows, weights, whats

WHO: dict[str, Any] = {"author": "bob", "now_ms": 3000}


def start(of: Plan, present: Route | None, **fields: Any) -> Rollout:
    values: dict[str, Any] = {"route": present, "route_revision": 10, "rollout_id": "r1"}
    return started(of, **{**values, **WHO, **fields}).rollout


def step(**fields: Any) -> Step:
    return Step.model_validate(fields)


def test_the_heaviest_other_version_is_the_baseline() -> None:
    assert start(plan({"weight": 5}), route(("1", 30), ("2", 60), ("4", 10))).baseline == "2"


@pytest.mark.parametrize(
    ("of", "present", "fields", "code"),
    [
        (plan({"weight": 5}, candidate=None), route(), {}, "invalid_document"),
        (plan({"weight": 5}), None, {}, "no_route"),
        (plan({"weight": 5}), route(("4", 100)), {}, "refused"),
        (plan({"weight": 5}, baseline="1"), route(), {}, "refused"),
        (plan({"weight": 5}), route(), {"running": begun(plan({"weight": 5}))[0]}, "refused"),
    ],
)
def test_a_start_that_makes_no_sense_is_refused(
    of: Plan, present: Route | None, fields: dict[str, Any], code: str
) -> None:
    with pytest.raises(CallerError) as refused:
        start(of, present, **fields)
    assert refused.value.code == code


def test_a_first_step_that_changes_nothing_goes_on_with_the_present_revision() -> None:
    commit = started(
        plan({"pause": {}}), route=route(), route_revision=10, rollout_id="r1", author="ann", now_ms=1
    )
    assert (commit.route, commit.rollout.step_revision) == (None, 10)


def test_an_abort_ends_it_in_any_phase_and_brings_the_traffic_back() -> None:
    for phase in (Phase.RUNNING, Phase.PAUSED, Phase.FROZEN):
        rollout, at, revision = begun(plan({"weight": 50}))
        rollout = rollout.model_copy(update={"phase": phase})
        commit = aborted(rollout, route=at, route_revision=revision, reason="too risky", **WHO)
        assert commit.rollout.phase is Phase.ABORTED
        assert commit.route == route()
        assert commit.rollout.sentence == "aborted by bob: too risky"


def test_an_abort_may_leave_the_route_alone_and_copes_with_none() -> None:
    rollout, at, revision = begun(plan({"weight": 50}))
    assert aborted(rollout, route=at, route_revision=revision, keep_route=True, **WHO).route is None
    commit = aborted(rollout, route=None, route_revision=revision, **WHO)
    assert (commit.rollout.phase, commit.route) == (Phase.ABORTED, None)


def test_an_ended_rollout_takes_no_commands() -> None:
    rollout, at, revision = begun(plan({"weight": 50}))
    ended = rollout.model_copy(update={"phase": Phase.ROLLED_BACK})
    commands: tuple[Callable[[], Commit], ...] = (
        lambda: paused(ended, **WHO),
        lambda: resumed(ended, route=at, route_revision=revision, **WHO),
        lambda: promoted(ended, route_revision=revision, route_author="ann", **WHO),
        lambda: aborted(ended, route=at, route_revision=revision, **WHO),
    )
    for command in commands:
        with pytest.raises(CallerError, match="rolled back"):
            command()


def test_resume_puts_the_step_on_top_of_what_somebody_changed() -> None:
    rollout, _, revision = begun(plan({"shadow": 100}, {"weight": 20}, {"pause": {}}))
    rollout = rollout.model_copy(update={"step": 2, "phase": Phase.PAUSED})
    theirs = route(("2", 50), ("1", 50), timeout_s=9)
    commit = resumed(rollout, route=theirs, route_revision=revision + 7, **WHO)
    assert commit.rollout.phase is Phase.RUNNING
    assert commit.route is not None
    assert (weights(commit.route), commit.route.timeout_s) == ({"2": 40, "1": 40, "4": 20}, 9)
    resumed_rollout, at, now = performed(commit, theirs, revision + 7)
    assert resumed_rollout.step_revision == now
    again = resumed_rollout.model_copy(update={"phase": Phase.PAUSED})
    commit = resumed(again, route=at, route_revision=now, **WHO)
    assert (commit.route, commit.rollout.step_revision) == (None, now)


def test_to_resume_what_runs_or_has_no_route_is_refused() -> None:
    rollout, at, revision = begun(plan({"weight": 50}))
    with pytest.raises(CallerError, match="runs already"):
        resumed(rollout, route=at, route_revision=revision, **WHO)
    stopped = paused(rollout, **WHO).rollout
    with pytest.raises(CallerError, match="no route any more"):
        resumed(stopped, route=None, route_revision=revision, **WHO)
    with pytest.raises(CallerError, match="paused already"):
        paused(stopped, **WHO)


def test_promote_goes_on_from_a_pause_but_not_from_a_fail_nor_over_somebody_elses_route() -> None:
    rollout, _, revision = begun(plan({"weight": 50}))
    stopped = paused(rollout, **WHO).rollout
    commit = promoted(stopped, route_revision=revision, route_author="ann", **WHO)
    assert (commit.rollout.phase, commit.rollout.promoted) == (Phase.RUNNING, True)
    assert whats(commit.rollout) == ["started", "paused", "promoted"]
    frozen = rollout.model_copy(update={"phase": Phase.FROZEN})
    with pytest.raises(CallerError, match="a gate failed"):
        promoted(frozen, route_revision=revision, route_author="ann", **WHO)
    with pytest.raises(CallerError, match="carl changed the route"):
        promoted(stopped, route_revision=revision + 1, route_author="carl", **WHO)


def test_weights_of_the_others_keep_their_proportions_and_the_rest_of_the_route_stays() -> None:
    before = route(
        ("2", 60),
        ("1", 30),
        ("4", 10),
        shadows=[{"version": "1", "percent": 7}],
        timeout_s=3,
        fallback="2",
        rules=[
            {
                "name": "x",
                "match": [{"header": "a", "present": True}],
                "split": [{"version": "1", "weight": 100}],
            }
        ],
    )
    rollout, _, _ = begun(plan({"weight": 40, "shadow": 30}), present=before)
    made = route_for(rollout, rollout.plan.steps[0], before)
    assert weights(made) == {"2": 40, "1": 20, "4": 40}
    assert shadows(made) == {"1": 7, "4": 30}
    changed = {"split", "shadows", "slots"}
    assert made.model_dump(exclude=changed) == before.model_dump(exclude=changed)
    assert route_back(rollout, made) == before


def test_weight_takes_the_shadow_away_unless_the_step_says_otherwise() -> None:
    rollout, at, _ = begun(plan({"shadow": 50}))
    assert shadows(at) == {"4": 50}
    assert shadows(route_for(rollout, step(weight=5), at)) == {}
    assert shadows(route_for(rollout, step(weight=5, shadow=20), at)) == {"4": 20}
    assert shadows(route_for(rollout, step(shadow=0), at)) == {}


def test_a_shadow_keeps_its_condition() -> None:
    match = [{"header": "x-region", "exact": "eu"}]
    before = route(shadows=[{"version": "4", "percent": 10, "match": match}])
    _, at, _ = begun(plan({"shadow": 50}), present=before)
    assert at.shadows[0].percent == 50
    assert at.shadows[0].match == before.shadows[0].match


def test_a_weight_dissolves_slots_a_cutover_fills_them_and_the_way_back_restores_them() -> None:
    before = Route.model_validate({"model": "digits", "slots": {"blue": "1", "green": "2", "live": "green"}})
    rollout, at, _ = begun(plan({"weight": 10}, {"cutover": {}}), present=before)
    assert (at.slots, weights(at)) == (None, {"2": 90, "4": 10})
    cut = route_for(rollout, rollout.plan.steps[1], at)
    assert cut.slots is not None
    assert (cut.slots.blue, cut.slots.green, cut.slots.live) == ("4", "2", "blue")
    assert route_back(rollout, cut) == before


def test_a_cutover_without_slots_gives_the_whole_split_and_no_copies() -> None:
    rollout, at, _ = begun(plan({"weight": 10, "shadow": 100}, {"cutover": {}}))
    cut = route_for(rollout, rollout.plan.steps[1], at)
    assert (weights(cut), shadows(cut), cut.slots) == ({"4": 100}, {}, None)


def test_the_present_route_of_a_cutover_depends_on_the_switch() -> None:
    rollout, at, _ = begun(plan({"weight": 10}, {"cutover": {}}))
    rollout = rollout.model_copy(update={"step": 1})
    assert weights(route_now(rollout, at)) == {"2": 90, "4": 10}
    switched = rollout.model_copy(update={"switched": True})
    assert weights(route_now(switched, at)) == {"4": 100}


def test_a_weight_below_a_hundred_gives_the_rest_back_to_the_baseline() -> None:
    rollout, _, _ = begun(plan({"weight": 10}))
    assert weights(route_for(rollout, step(weight=30), route(("4", 100)))) == {"4": 30, "2": 70}


def test_a_ninth_shadow_is_refused_with_a_reason() -> None:
    many = [{"version": f"s{index}", "percent": 1} for index in range(8)]
    with pytest.raises(CallerError, match="shadows"):
        begun(plan({"shadow": 50}), present=route(shadows=many))


@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=5).filter(any),
    st.floats(0, 100),
    st.floats(0, 100),
)
@example(parts=[1], first=16.171489, then=0.0)  # 100 * x / x is more than 100 for some x
def test_any_weight_on_any_split_is_a_valid_route_that_keeps_the_proportions_of_the_others(
    parts: list[int], first: float, then: float
) -> None:
    had = {f"v{index}": 100 * part / sum(parts) for index, part in enumerate(parts)}
    before = route(*had.items())
    rollout, at, _ = begun(plan({"weight": first}, {"weight": then}), present=before)
    for weight, present in ((first, before), (then, at)):
        made = {
            entry.version: entry.weight for entry in route_for(rollout, step(weight=weight), present).split
        }
        assert made["4"] == weight
        if first < 99:
            for version, percent in had.items():
                assert made[version] == pytest.approx(percent * (100 - weight) / 100, abs=1e-6)
    assert route_back(rollout, at) == before
