"""`gateway.core.rollouts.rehearse` and `gateway.core.rollouts.replay`: what a plan would have done, and
when."""

import math

import pytest

from gateway.contract.latency import bucket_of
from gateway.contract.plan import Plan
from gateway.contract.rollout import Phase
from gateway.contract.route import Route
from gateway.core.evidence.sums import Sums, Table
from gateway.core.rollouts.rehearse import EMPTY, Observed, Rehearsal, rehearse, sum_of
from gateway.core.rollouts.replay import rehearse_recorded, scaled, thinned
from tests.core.rollouts.examples import plan, route, shadows, sums, table, weights, whats

STEPS: list[dict[str, object]] = [
    {"shadow": 100, "hold": {"min_s": 120}},
    {"weight": 50, "hold": {"min_s": 60}},
    {"pause": {}},
    {"cutover": {"watch_s": 60}},
]


def standard(**fields: object) -> Plan:
    return plan(*STEPS, **{"gates": [{"metric": "error_rate", "at_most": 0.02}], **fields})


def minutes(
    number: int, *, failed: float = 0, rows: float = 0, right: float = 0
) -> dict[int, dict[str, float]]:
    """1000 requests a minute, all copied to 4, which was never a primary."""
    bucket = bucket_of(5000)
    of_candidate = {"n": 1000, "ok": 1000 - failed, f"h{bucket}": 1000 - failed, "rows": rows, "right": right}
    if failed:
        of_candidate["e:bad_upstream"] = failed
    fields = {"p|2|n": 1000.0, "p|2|ok": 1000.0, f"p|2|h{bucket}": 1000.0}
    fields |= {"p|2|rows": rows, "p|2|right": rows, "d|2|4|rows": rows, "d|2|4|b": rows - right}
    fields |= {f"s|4|{name}": float(value) for name, value in of_candidate.items()}
    return {29_000_000 + minute: fields for minute in range(number)}


def times(rehearsal: Rehearsal) -> dict[str, float]:
    return {event.what: at_s for at_s, event in rehearsal.events}


def test_a_good_candidate_gets_through_in_the_time_that_the_plan_asks_for() -> None:
    found = rehearse_recorded(standard(), route=route(), evidence=minutes(30))
    assert found.rollout.phase is Phase.SUCCEEDED
    assert "promoted" in whats(found.rollout)
    assert 240 <= found.lasted_s <= 360
    assert times(found)["started"] == 0
    first = next(at_s for at_s, event in found.events if event.what == "advanced")
    assert first == pytest.approx(120, abs=5)
    assert found.requests == pytest.approx(500 + 1000, rel=0.2)


def test_a_bad_candidate_is_sent_back_before_it_answers_anything() -> None:
    found = rehearse_recorded(standard(), route=route(), evidence=minutes(30, failed=300))
    assert (found.rollout.phase, found.requests) == (Phase.ROLLED_BACK, 0)
    assert found.lasted_s < 60


def test_a_recording_that_ends_leaves_it_where_it_is() -> None:
    found = rehearse_recorded(standard(), route=route(), evidence=minutes(1))
    assert (found.rollout.phase, found.rollout.step, found.lasted_s) == (Phase.RUNNING, 0, 60)
    assert "120 s of this step" in found.waits_for


def test_labels_wait_for_their_maturity() -> None:
    gates = [{"metric": "accuracy", "margin": 0.02, "maturity_s": 180}]
    young = rehearse_recorded(standard(gates=gates), route=route(), evidence=minutes(3, rows=500, right=300))
    assert young.rollout.phase is Phase.RUNNING
    old = rehearse_recorded(standard(gates=gates), route=route(), evidence=minutes(9, rows=500, right=300))
    assert old.rollout.phase is Phase.ROLLED_BACK
    assert old.lasted_s > 180
    fast = standard(gates=[{**gates[0], "maturity_s": 0}])
    at_once = rehearse_recorded(fast, route=route(), evidence=minutes(9, rows=500, right=300))
    assert at_once.lasted_s < 60


def test_without_anybody_a_pause_for_a_person_stays() -> None:
    class Calm:
        def passed(self, at: Route, tick_s: float) -> Observed:
            assert weights(at)
            return Observed(table({"p2": sums(900), "p4": sums(900), "s4": sums(900)}))

    found = rehearse(standard(), route=route(), world=Calm(), tick_s=5, most_s=3600, promotes=False)
    assert (found.rollout.phase, found.rollout.step, found.lasted_s) == (Phase.RUNNING, 2, 3600)
    assert "promotes" in found.waits_for


def test_evidence_is_thinned_to_the_route_and_never_invented() -> None:
    minute = table(
        {"p2": sums(900), "p4": sums(100, latency_ms=9), "s4": sums(450)}, paired=Sums({"rows": 200, "b": 20})
    )
    canary = thinned(minute, route(("2", 95), ("4", 5)), baseline="2", candidate="4")
    assert canary.roles["p", "4"]["n"] == pytest.approx(50)
    assert canary.roles["p", "2"]["n"] == pytest.approx(900)
    assert ("s", "4") not in canary.roles
    assert canary.paired["2", "4"]["rows"] == 0
    half = thinned(minute, route(("2", 50), ("4", 50)), baseline="2", candidate="4")
    assert half.roles["p", "4"]["n"] == 100, "500 were asked for, 100 were recorded"
    copied = thinned(minute, route(shadows=[{"version": "4", "percent": 9}]), baseline="2", candidate="4")
    assert shadows(route()) == {}
    assert copied.roles["s", "4"]["n"] == pytest.approx(90)
    assert copied.paired["2", "4"]["rows"] == pytest.approx(40)
    assert ("p", "4") not in copied.roles


def test_the_only_recorded_role_stands_for_the_other() -> None:
    minute = table({"p2": sums(1000), "s4": sums(1000, failed=10)})
    found = thinned(minute, route(("2", 80), ("4", 20)), baseline="2", candidate="4")
    assert found.roles["p", "4"]["n"] == pytest.approx(200)
    assert found.roles["p", "4"].errors() == pytest.approx({"bad_upstream": 2})


def test_tables_add_and_scale_in_every_part() -> None:
    part = table({"p2": sums(4)})
    whole = table(
        {"p2": sums(10, rows=4, right=2)},
        paired=Sums({"rows": 4, "b": 2}),
        agreement=Sums({"rows": 8, "agree": 6}),
        slices={("x-region", "eu"): part},
        outputs={("p", "2"): {"7": 3.0}},
    )
    assert sum_of(scaled(whole, 0.5), scaled(whole, 0.5)) == sum_of(whole, EMPTY)
    assert sum_of(whole, EMPTY).slices["x-region", "eu"].roles["p", "2"]["n"] == 4
    assert math.isclose(scaled(whole, 0.25).outputs["p", "2"]["7"], 0.75)
    assert sum_of(EMPTY, EMPTY) == Table({}, {}, {})
