"""An explanation says what a gateway does, each step of it, and a memory is checked against the record."""

import math
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract.route import Match, Route
from gateway.core.decide import CompiledRoute, compile_route, decide
from gateway.core.explain import Explanation, Unmet, explain, request_of
from gateway.core.recall import check_unit, reason_of
from gateway.core.split import by_unit

HALVES = [{"version": "1", "weight": 50}, {"version": "2", "weight": 50}]
STICKY = {"header": "turnout-unit"}
READY = {"1": ("w-1",), "2": ("w-2a", "w-2b"), "3": ("w-3",)}


def rule(name: str, version: str, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "match": list(conditions), "split": [{"version": version, "weight": 100}]}


TENANT = {"header": "x-tenant", "exact": "beta"}
DEBUG = {"header": "x-debug", "present": True}


def compiled(**parts: Any) -> CompiledRoute:
    document = {"model": "digits", "split": HALVES} | parts
    return compile_route(Route.model_validate(document), revision=7)


def explained(route: CompiledRoute, *headers: tuple[str, str], **asked: Any) -> Explanation:
    ready = asked.pop("ready", READY)
    request = request_of(route.route, headers, unit=asked.get("unit"), pin=asked.get("pin"))
    return explain(route, request, ready)


def test_each_rule_is_told_up_to_the_one_that_holds() -> None:
    rules = [rule("beta", "1", TENANT), rule("both", "2", DEBUG, TENANT), rule("debug", "3", DEBUG)]
    rules.append(rule("never-asked", "1", DEBUG))
    found = explained(compiled(rules=rules), ("X-Tenant", "gamma"), ("x-debug", "1"))
    tenant = Unmet(Match.model_validate(TENANT), "gamma")
    assert [(tried.name, tried.unmet) for tried in found.rules] == [
        ("beta", tenant), ("both", tenant), ("debug", None),
    ]  # fmt: skip
    assert found.split == (("3", 100),)
    assert [(one.version, one.reason) for one in found.outcomes] == [("3", "rule:debug")]


def test_a_header_that_is_missing_is_told_as_such() -> None:
    [tried] = explained(compiled(rules=[rule("beta", "1", TENANT)])).rules
    assert tried.unmet == Unmet(Match.model_validate(TENANT), None)


def test_a_drawn_request_has_odds_and_each_version_its_workers() -> None:
    split = [{"version": "1", "weight": 99.5}, {"version": "2", "weight": 0.5}, {"version": "3", "weight": 0}]
    found = explained(compiled(split=split, sticky=STICKY))
    assert found.unit is None
    told = [(one.version, one.percent, one.reason, one.workers) for one in found.outcomes]
    assert told == [("1", 99.5, "weight", ("w-1",)), ("2", 0.5, "weight", ("w-2a", "w-2b"))]


def test_a_units_distances_can_be_computed_by_anybody() -> None:
    found = explained(compiled(sticky=STICKY), unit="alice")
    assert (found.unit, len(found.outcomes)) == ("alice", 1)
    for near in found.distances:
        digest = blake2b(f"digits\0{near.version}\0alice".encode(), digest_size=8).digest()
        share = (int.from_bytes(digest, "big") + 0.5) / 2**64
        assert near.hash == share
        assert near.distance == pytest.approx(-math.log(share) / near.weight)
    nearest = min(found.distances, key=lambda near: near.distance)
    assert (found.outcomes[0].version, found.outcomes[0].reason) == (nearest.version, "sticky")


weights = st.lists(st.integers(0, 100), min_size=1, max_size=4).filter(any)


@given(weights, weights, st.booleans(), st.sampled_from(["", "a", "ä", "user-7"]), st.floats(0, 0.999999))
@settings(max_examples=200)
def test_whatever_a_gateway_decides_is_among_the_outcomes(
    route_parts: list[int], rule_parts: list[int], is_beta: bool, unit: str, draw: float
) -> None:
    def split(parts: list[int]) -> list[dict[str, Any]]:
        return [
            {"version": str(number), "weight": 100 * part / sum(parts)} for number, part in enumerate(parts)
        ]

    beta = {"name": "beta", "match": [TENANT], "split": split(rule_parts)}
    route = compiled(split=split(route_parts), rules=[beta], sticky=STICKY)
    headers = [("x-tenant", "beta")] if is_beta else []
    request = request_of(route.route, headers, unit=unit, pin=None)
    found = explain(route, request, {})
    decision = decide(route, request, draw)
    assert decision in [(one.version, one.reason) for one in found.outcomes]
    assert sum(one.percent for one in found.outcomes) == pytest.approx(100)
    if unit:
        assert len(found.outcomes) == 1


def test_a_pin_asks_neither_rules_nor_the_split() -> None:
    found = explained(compiled(rules=[rule("beta", "1", TENANT)], fallback="1"), pin="9", unit="a")
    assert (found.pin, found.rules, found.split, found.unit) == ("9", (), (), None)
    [outcome] = found.outcomes
    assert (outcome.answered_by, outcome.reason, outcome.workers) == ("9", "pin", ())


def test_a_version_without_ready_workers_is_answered_by_the_fallback() -> None:
    route = compiled(fallback="1")
    first, second = explained(route, ready={"1": ("w-1",)}).outcomes
    assert (first.answered_by, first.reason) == ("1", "weight")
    assert (second.version, second.answered_by, second.reason) == ("2", "1", "fallback")
    assert all(not one.workers for one in explained(route, ready={}).outcomes)


def test_a_shadow_gets_its_share_of_what_others_answered_and_is_recorded() -> None:
    shadows = [
        {"version": "3", "percent": 20},
        {"version": "2", "percent": 100},
        {"version": "4", "match": [TENANT]},
    ]
    route = compiled(shadows=shadows, record={"percent": 50})
    third, second, fourth = explained(route).shadows
    assert (third.percent, third.workers) == (10, ("w-3",))
    assert second.percent == 25  # half of the requests it answers itself
    assert (fourth.percent, fourth.unmet) == (0, Unmet(Match.model_validate(TENANT), None))
    assert [one.percent for one in explained(route, pin="2").shadows][:2] == [10, 0]
    assert [one.percent for one in explained(route, ready={}).shadows] == [0, 0, 0]


def test_the_caller_may_wait_less_than_the_route_allows_but_not_more() -> None:
    for asked, told in (("500", 0.5), ("9000", 2), ("soon", 2), ("0", 2)):
        assert explained(compiled(), ("turnout-timeout-ms", asked)).timeout_s == told


def test_the_unit_stands_where_the_route_reads_it() -> None:
    by_cookie = compiled(sticky={"cookie": "uid"}).route
    assert request_of(by_cookie, [], unit="a", pin=None) == {b"cookie": b"uid=a"}
    assert request_of(by_cookie, [("Cookie", "b=c")], unit="a", pin=None) == {b"cookie": b"uid=a; b=c"}
    by_header = compiled(sticky={"header": "x-user"}).route
    assert request_of(by_header, [("x-user", " a ")], unit="a", pin="2") == {
        b"x-user": b"a", b"turnout-version": b"2",
    }  # fmt: skip
    assert request_of(compiled().route, [], unit="a", pin=None) == {b"turnout-unit": b"a"}
    with pytest.raises(ValueError, match="two values of x-user"):
        request_of(by_header, [("x-user", "b")], unit="a", pin=None)


# -- what was recorded ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "position", "words"),
    [("sticky", None, "sticky"), (None, 1, "rule:debug"), (None, 2, "rule:#2"), (None, None, None)],
)
def test_a_rule_gets_its_name_back(reason: str | None, position: int | None, words: str | None) -> None:
    route = compiled(rules=[rule("beta", "1", TENANT), rule("debug", "2", DEBUG)]).route
    assert reason_of(route, reason=reason, rule=position) == words
    assert reason_of(None, reason=None, rule=1) == "rule:#1"


def checked(route: CompiledRoute, version: str, reason: str | None, position: int | None = None) -> Any:
    found = check_unit(route, "alice", reason=reason, rule=position, version=version)
    return found.version, found.agrees


def test_a_unit_is_checked_by_the_split_that_decided() -> None:
    thirds = [{"version": version, "weight": 50} for version in "34"]
    beta = {"name": "beta", "match": [TENANT], "split": thirds}
    route = compiled(sticky=STICKY, rules=[beta])
    leads_to = by_unit(route.split, b"alice")
    other = "2" if leads_to == "1" else "1"
    assert checked(route, leads_to, "sticky") == (leads_to, True)
    assert checked(route, other, "sticky") == (leads_to, False)
    assert checked(route, leads_to, None) == (leads_to, True)  # an earlier gateway's record says no reason
    in_rule = by_unit(route.rules[0].split, b"alice")
    assert checked(route, in_rule, None, 0) == (in_rule, True)
    assert checked(route, "1", "fallback") == (leads_to, None)


def test_where_no_unit_decided_that_is_said() -> None:
    assert checked(compiled(sticky=STICKY), "1", "pin") == (None, None)
    assert checked(compiled(sticky=STICKY), "1", "weight") == (None, False)
    assert checked(compiled(), "1", "weight") == (None, None)
