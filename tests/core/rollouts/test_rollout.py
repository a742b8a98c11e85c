"""`gateway.core.rollouts.rollout`: what is done at one look, and in which order things are looked at."""

import math
from typing import Any

import pytest

from gateway.contract.plan import Plan
from gateway.contract.rollout import Outcome, Phase, Progress, Rollout, Verdict
from gateway.contract.route import Route
from gateway.core.evidence.sums import Table
from gateway.core.rollouts.rollout import CheckCandidate, Commit, Stay, decide
from gateway.core.rollouts.seen import CutoverCheck, Seen
from tests.core.rollouts.examples import (
    OURS,
    begun,
    look,
    performed,
    plan,
    route,
    shadows,
    sums,
    table,
    weights,
    whats,
)

FEW_ERRORS = {"metric": "error_rate", "at_most": 0.02}
GOOD = table({"p2": sums(5000), "p4": sums(5000), "s4": sums(5000)})
BAD = table({"p2": sums(5000), "p4": sums(5000, failed=1500), "s4": sums(5000, failed=1500)})
CHECKED = CutoverCheck(workers=1, warmed_requests=50, golden_passed=2, golden_of=2)


def committed(rollout: Rollout, seen: Seen) -> Commit:
    action = decide(rollout, seen)
    assert isinstance(action, Commit), action
    return action


def stayed(rollout: Rollout, seen: Seen) -> Progress:
    action = decide(rollout, seen)
    assert isinstance(action, Stay), action
    return action.progress


def at_once(*steps: dict[str, Any], **fields: Any) -> Plan:
    return plan(*steps, **{"gates": [FEW_ERRORS], **fields})


def test_a_good_candidate_goes_through_shadow_weight_and_cutover_to_success() -> None:
    rollout, at, revision = begun(at_once({"shadow": 100}, {"weight": 20}, {"cutover": {"watch_s": 3}}))
    assert shadows(at) == {"4": 100}
    rollout, at, revision = performed(
        committed(rollout, look(rollout, at, revision, whole=GOOD)), at, revision
    )
    assert (rollout.step, weights(at), shadows(at)) == (1, {"2": 80, "4": 20}, {})
    rollout, at, revision = performed(
        committed(rollout, look(rollout, at, revision, whole=GOOD)), at, revision
    )
    assert (rollout.step, weights(at)) == (2, {"2": 80, "4": 20})
    assert isinstance(decide(rollout, look(rollout, at, revision, whole=GOOD)), CheckCandidate)
    rollout, at, revision = performed(
        committed(rollout, look(rollout, at, revision, whole=GOOD, check=CHECKED)), at, revision
    )
    assert (rollout.switched, weights(at)) == (True, {"4": 100})
    progress = stayed(rollout, look(rollout, at, revision, whole=GOOD, counted_s=1))
    assert progress.counted_s == 2
    assert "3 s of watching" in progress.waits_for
    done = committed(rollout, look(rollout, at, revision, whole=GOOD, counted_s=2))
    assert (done.rollout.phase, done.rollout.step) == (Phase.SUCCEEDED, 3)
    assert whats(done.rollout) == [
        "started", "advanced", "entered", "advanced", "entered", "cutover", "advanced", "succeeded",
    ]  # fmt: skip
    report = done.rollout.events[-1].report
    assert report is not None
    assert report["since"]["requests"] == 10_000


def test_a_fail_takes_everything_back() -> None:
    before = route(("2", 60), ("1", 40), shadows=[{"version": "1", "percent": 5}], timeout_s=3)
    rollout, at, revision = begun(at_once({"weight": 50, "shadow": 10}), present=before)
    assert weights(at) == {"2": 30, "1": 20, "4": 50}
    changed = Route.model_validate({**at.model_dump(), "timeout_s": 7.0})
    back = committed(rollout, look(rollout, changed, revision, whole=BAD))
    assert back.rollout.phase is Phase.ROLLED_BACK
    assert back.route is not None
    assert back.route == Route.model_validate({**before.model_dump(), "timeout_s": 7.0})
    assert "error rate of 4 is at least" in back.rollout.sentence


def test_a_plan_may_freeze_instead_and_a_frozen_rollout_stays() -> None:
    rollout, at, revision = begun(at_once({"weight": 50}, on_fail="freeze"))
    commit = committed(rollout, look(rollout, at, revision, whole=BAD))
    assert (commit.rollout.phase, commit.route) == (Phase.FROZEN, None)
    frozen, at, revision = performed(commit, at, revision)
    assert "abort" in stayed(frozen, look(frozen, at, revision, whole=BAD)).waits_for
    assert "resume" in stayed(frozen, look(frozen, at, revision, whole=GOOD)).waits_for


def test_somebody_elses_change_pauses_and_takes_nothing_back() -> None:
    rollout, _, revision = begun(at_once({"weight": 50}))
    theirs = route(("2", 90), ("4", 10))
    commit = committed(rollout, look(rollout, theirs, revision + 5, whole=BAD, route_author="bob"))
    assert (commit.rollout.phase, commit.route) == (Phase.PAUSED, None)
    assert f"bob changed the route (revision {revision + 5})" in commit.rollout.sentence
    waiting = stayed(
        commit.rollout, look(commit.rollout, theirs, revision + 5, whole=BAD, route_author="bob")
    )
    assert "bob changed the route" in waiting.waits_for


def test_a_deleted_route_pauses() -> None:
    rollout, _, revision = begun(at_once({"weight": 50}))
    commit = committed(rollout, look(rollout, None, revision + 1, whole=GOOD, route_author="bob"))
    assert (commit.rollout.phase, commit.route) == (Phase.PAUSED, None)


def test_the_revision_of_the_start_is_its_own_whoever_wrote_it() -> None:
    rollout, at, revision = begun(at_once({"weight": 50, "hold": {"min_s": 60}}))
    assert stayed(rollout, look(rollout, at, revision, route_author="ann", whole=GOOD)).counted_s == 1


@pytest.mark.parametrize(
    ("fields", "waits_for"),
    [
        ({"gateways_behind": 1}, "1 of 2 gateways"),
        ({"gateways": 0}, "a live gateway"),
        ({"ready": {"2": 4, "4": 1}}, "4 has 1 ready worker, and weight 50 % needs 2"),
        ({"ready": {"2": 1}}, "4 has 0 ready workers"),
    ],
)
def test_time_stands_while_something_is_missing(fields: dict[str, Any], waits_for: str) -> None:
    rollout, at, revision = begun(at_once({"weight": 50}))
    progress = stayed(rollout, look(rollout, at, revision, whole=GOOD, counted_s=7, **fields))
    assert progress.counted_s == 7
    assert waits_for in progress.waits_for


@pytest.mark.parametrize(("elapsed_s", "counts"), [(1e6, 5), (-1e6, 0), (math.nan, 0), (math.inf, 5)])
def test_a_tick_counts_for_a_few_seconds_at_most(elapsed_s: float, counts: float) -> None:
    rollout, at, revision = begun(at_once({"weight": 50, "hold": {"min_s": 1000}}))
    assert stayed(rollout, look(rollout, at, revision, whole=GOOD, elapsed_s=elapsed_s)).counted_s == counts


def test_time_counts_anew_in_the_next_step() -> None:
    rollout, at, revision = begun(at_once({"weight": 10}, {"weight": 50, "hold": {"min_s": 60}}))
    seen = look(rollout, at, revision, whole=GOOD, counted_s=500)
    rollout, at, revision = performed(committed(rollout, seen), at, revision)
    late = look(rollout, at, revision, whole=GOOD, progress=Progress(rollout_id="r1", step=0, counted_s=500))
    assert stayed(rollout, late).counted_s == 1


def test_the_next_step_waits_for_its_workers_before_traffic_moves() -> None:
    rollout, at, revision = begun(at_once({"weight": 10}, {"weight": 50}))
    progress = stayed(rollout, look(rollout, at, revision, whole=GOOD, ready={"2": 4, "4": 1}))
    assert "weight 50 % needs 2" in progress.waits_for


@pytest.mark.parametrize(
    ("hold", "missing"),
    [
        ({"min_s": 60}, "60 s of this step (1 so far)"),
        ({"min_requests": 6000}, "6,000 requests of 4"),
        ({"min_labels": 10}, "10 labels of 4 (0 so far)"),
    ],
)
def test_minima_hold_a_step(hold: dict[str, Any], missing: str) -> None:
    whole = table({"p2": sums(5000), "p4": sums(5000)})
    rollout, at, revision = begun(at_once({"weight": 50, "hold": hold}))
    assert missing in stayed(rollout, look(rollout, at, revision, whole=whole)).waits_for


@pytest.mark.parametrize(
    ("hold", "why"), [({"max_s": 30}, "lasted 30 s"), ({"max_requests": 100}, "100 at most")]
)
def test_a_maximum_without_a_decision_pauses(hold: dict[str, Any], why: str) -> None:
    undecided = table({"p4": sums(100, failed=1)})
    rollout, at, revision = begun(at_once({"weight": 50, "hold": hold}))
    commit = committed(rollout, look(rollout, at, revision, whole=undecided, counted_s=29))
    assert (commit.rollout.phase, commit.route) == (Phase.PAUSED, None)
    assert why in commit.rollout.sentence
    assert "not decided: error rate of 4 is" in commit.rollout.sentence


@pytest.mark.parametrize("limits", [{"requests": 4999}, {"errors": 10}, {"units": 99}])
def test_blast_radius_pauses(limits: dict[str, int]) -> None:
    rollout, at, revision = begun(at_once({"weight": 50}, {"weight": 60}, limits=limits))
    whole = table({"p2": sums(5000), "p4": sums(5000, failed=11)})
    commit = committed(rollout, look(rollout, at, revision, whole=whole, units=100))
    assert commit.rollout.phase is Phase.PAUSED
    assert commit.rollout.sentence.startswith("blast radius reached: ")


def test_a_limit_that_cannot_be_looked_at_holds() -> None:
    rollout, at, revision = begun(at_once({"weight": 50}, limits={"units": 10}))
    assert (
        "how many there are is not known"
        in stayed(rollout, look(rollout, at, revision, whole=GOOD)).waits_for
    )


def test_a_pause_lasts_for_its_time_or_until_promoted() -> None:
    for pause, counted_s, passes in (({"for_s": 60}, 59, True), ({"for_s": 60}, 50, False), ({}, 1e6, False)):
        rollout, at, revision = begun(at_once({"pause": pause}, {"weight": 10}))
        action = decide(rollout, look(rollout, at, revision, whole=BAD, counted_s=counted_s))
        assert isinstance(action, Commit) == passes
        promoted = rollout.model_copy(update={"promoted": True})
        assert committed(promoted, look(promoted, at, revision, whole=BAD)).rollout.step == 1


@pytest.mark.parametrize(
    ("evidence", "promoted", "phase"),
    [
        (GOOD, False, Phase.SUCCEEDED),
        (table(), False, Phase.RUNNING),
        (table(), True, Phase.SUCCEEDED),
        (BAD, True, Phase.ROLLED_BACK),
        ("Redis is away", False, Phase.RUNNING),
        ("Redis is away", True, Phase.SUCCEEDED),
        (table({"p4": sums(5000, us=math.nan)}), False, Phase.RUNNING),
    ],
)
def test_only_pass_or_a_person_lets_a_step_pass_and_nobody_in_spite_of_a_fail(
    evidence: Table | str, promoted: bool, phase: Phase
) -> None:
    rollout, at, revision = begun(at_once({"weight": 50}))
    rollout = rollout.model_copy(update={"promoted": promoted})
    seen = (
        look(rollout, at, revision, evidence=evidence)
        if isinstance(evidence, str)
        else look(rollout, at, revision, whole=evidence)
    )
    action = decide(rollout, seen)
    assert (action.rollout.phase if isinstance(action, Commit) else Phase.RUNNING) is phase


def test_a_gate_that_does_not_block_still_fails() -> None:
    gates = [{**FEW_ERRORS, "blocks": False}]
    rollout, at, revision = begun(plan({"weight": 50}, gates=gates))
    assert committed(rollout, look(rollout, at, revision)).rollout.phase is Phase.SUCCEEDED
    assert committed(rollout, look(rollout, at, revision, whole=BAD)).rollout.phase is Phase.ROLLED_BACK


def test_a_candidate_that_is_not_fit_is_not_switched_to() -> None:
    rollout, at, revision = begun(at_once({"cutover": {}}))
    problems = ("worker 10.0.0.1:80 gave [3], not [7]",)
    check = CutoverCheck(workers=1, warmed_requests=0, golden_passed=0, golden_of=1, problems=problems)
    commit = committed(rollout, look(rollout, at, revision, whole=GOOD, check=check))
    assert (commit.rollout.phase, commit.route) == (Phase.ROLLED_BACK, None)
    assert problems[0] in commit.rollout.sentence
    nobody = CutoverCheck(workers=0, warmed_requests=0, golden_passed=0, golden_of=0)
    commit = committed(rollout, look(rollout, at, revision, whole=GOOD, check=nobody))
    assert commit.rollout.phase is Phase.ROLLED_BACK


def test_a_fail_while_the_switch_is_watched_switches_back_with_slots() -> None:
    slots = {"blue": "2", "green": "1", "live": "blue"}
    before = Route.model_validate({"model": "digits", "slots": slots})
    rollout, at, revision = begun(at_once({"cutover": {}}), present=before)
    commit = committed(rollout, look(rollout, at, revision, whole=GOOD, check=CHECKED))
    rollout, at, revision = performed(commit, at, revision)
    assert at.slots is not None
    assert (at.slots.green, at.slots.live) == ("4", "green")
    back = committed(rollout, look(rollout, at, revision, whole=BAD))
    assert (back.rollout.phase, back.route) == (Phase.ROLLED_BACK, before)
    assert back.rollout.events[-1].report is not None


def test_an_outside_verdict_counts_like_any_other() -> None:
    gate = {"metric": "prometheus", "url": "http://prometheus:9090", "query": "up", "at_least": 1}
    rollout, at, revision = begun(plan({"weight": 50}, gates=[gate]))
    assert "not asked yet" in stayed(rollout, look(rollout, at, revision)).waits_for
    verdicts = {outcome: Verdict(gate="x", outcome=outcome, sentence="so it is") for outcome in Outcome}
    for outcome, phase in ((Outcome.PASS, Phase.SUCCEEDED), (Outcome.FAIL, Phase.ROLLED_BACK)):
        seen = look(rollout, at, revision, external={0: verdicts[outcome]})
        assert committed(rollout, seen).rollout.phase is phase
    for outcome in (Outcome.HOLD, Outcome.ERROR):
        seen = look(rollout, at, revision, external={0: verdicts[outcome]})
        assert stayed(rollout, seen).verdicts[0].gate == "prometheus"


def test_an_ended_rollout_does_nothing_more() -> None:
    rollout, at, revision = begun(at_once({"weight": 50}))
    ended = rollout.model_copy(update={"phase": Phase.ABORTED})
    seen = look(ended, at, revision, whole=BAD)
    assert decide(ended, seen) == Stay(seen.progress)


def test_after_success_with_everything_the_candidate_is_no_shadow() -> None:
    rollout, at, revision = begun(at_once({"weight": 100, "shadow": 5}))
    assert shadows(at) == {"4": 5}
    done = committed(rollout, look(rollout, at, revision, whole=GOOD))
    assert done.rollout.phase is Phase.SUCCEEDED
    assert (weights(done.route), shadows(done.route)) == ({"4": 100}, {})


def test_a_look_that_changes_nothing_keeps_the_marks_of_its_windows() -> None:
    rollout, at, revision = begun(at_once({"weight": 50, "hold": {"min_s": 60}}))
    marked = Progress.model_validate(
        {"rollout_id": "r1", "step": 0, "rollout_mark": {"minute": 3}, "step_mark": {"minute": 4}}
    )
    progress = stayed(rollout, look(rollout, at, revision, progress=marked))
    assert (progress.rollout_mark, progress.step_mark) == (marked.rollout_mark, marked.step_mark)
    other = marked.model_copy(update={"step": 5})
    progress = stayed(rollout, look(rollout, at, revision, progress=other))
    assert (progress.rollout_mark, progress.step_mark) == (marked.rollout_mark, None)


def test_it_writes_as_the_rollout() -> None:
    rollout, _, _ = begun(at_once({"weight": 50}))
    assert rollout.route_author == OURS
