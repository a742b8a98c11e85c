"""Pin before rules, rules before the split, units before chance."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.route import Route
from gateway.core.decide import CompiledRoute, compile_route, decide


def compiled(**parts: Any) -> CompiledRoute:
    document = {"model": "digits", "split": [{"version": "1", "weight": 100}]} | parts
    return compile_route(Route.model_validate(document), revision=7)


BETA = {
    "name": "beta",
    "match": [{"header": "x-tenant", "exact": "beta"}],
    "split": [{"version": "2", "weight": 100}],
}


def test_a_pin_beats_rules_and_split() -> None:
    headers = {b"turnout-version": b"9", b"x-tenant": b"beta"}
    assert decide(compiled(rules=[BETA]), headers, 0.5) == ("9", "pin")


def test_the_first_rule_that_matches_decides() -> None:
    other = BETA | {"name": "other", "split": [{"version": "3", "weight": 100}]}
    assert decide(compiled(rules=[BETA, other]), {b"x-tenant": b"beta"}, 0.5) == ("2", "rule:beta")
    assert decide(compiled(rules=[other, BETA]), {b"x-tenant": b"beta"}, 0.5) == ("3", "rule:other")


def test_without_a_match_the_split_decides() -> None:
    assert decide(compiled(rules=[BETA]), {b"x-tenant": b"gamma"}, 0.5) == ("1", "weight")


@pytest.mark.parametrize(
    ("condition", "matching", "other"),
    [
        ({"exact": "a"}, b"a", b"ab"),
        ({"prefix": "ab"}, b"abc", b"ba"),
        ({"regex": "[0-9]+"}, b"123", b"123x"),
        ({"present": True}, b"", None),
        ({"present": False}, None, b"x"),
    ],
)
def test_each_kind_of_condition(
    condition: dict[str, Any], matching: bytes | None, other: bytes | None
) -> None:
    route = compiled(rules=[BETA | {"match": [{"header": "x-a"} | condition]}])

    def reason(value: bytes | None) -> str:
        return decide(route, {} if value is None else {b"x-a": value}, 0.5)[1]

    assert reason(matching) == "rule:beta"
    assert reason(other) == "weight"


def test_every_condition_of_a_rule_must_hold() -> None:
    both = [{"header": "x-a", "exact": "1"}, {"header": "x-b", "exact": "2"}]
    route = compiled(rules=[BETA | {"match": both}])
    assert decide(route, {b"x-a": b"1"}, 0.5)[1] == "weight"
    assert decide(route, {b"x-a": b"1", b"x-b": b"2"}, 0.5)[1] == "rule:beta"


def test_a_hostile_header_cannot_slow_a_regular_expression_down() -> None:
    route = compiled(rules=[BETA | {"match": [{"header": "x-a", "regex": "(a+)+b"}]}])
    assert decide(route, {b"x-a": b"a" * 20_000}, 0.5)[1] == "weight"


HALVES = [{"version": "1", "weight": 50}, {"version": "2", "weight": 50}]


def test_a_unit_sticks_whatever_is_drawn() -> None:
    route = compiled(split=HALVES, sticky={"header": "turnout-unit"})
    headers = {b"turnout-unit": b"user-7"}
    decisions = {decide(route, headers, draw / 10) for draw in range(10)}
    assert len(decisions) == 1
    assert decisions.pop()[1] == "sticky"


def test_without_a_unit_chance_decides() -> None:
    route = compiled(split=HALVES, sticky={"header": "turnout-unit"})
    assert decide(route, {}, 0.2) == ("1", "weight")
    assert decide(route, {b"turnout-unit": b""}, 0.7) == ("2", "weight")


def test_the_unit_can_lie_in_a_cookie() -> None:
    by_cookie = compiled(split=HALVES, sticky={"cookie": "uid"})
    by_header = compiled(split=HALVES, sticky={"header": "turnout-unit"})
    for number in range(50):
        unit = f"u{number}".encode()
        cookie = {b"cookie": b"a=b; uid=" + unit + b"; c=d"}
        assert decide(by_cookie, cookie, 0.1) == decide(by_header, {b"turnout-unit": unit}, 0.9)


def test_slots_give_everything_to_the_live_one() -> None:
    route = compiled(split=[], slots={"blue": "1", "green": "2", "live": "green"})
    assert decide(route, {}, 0.1) == ("2", "weight")


@given(st.binary(max_size=200), st.sampled_from([(), ("rule",)]), st.sampled_from([(90, 10), (100, 0)]))
def test_where_one_header_decides_alone_the_short_cut_says_the_same(
    unit: bytes, rules: tuple[str, ...], weights: tuple[int, int]
) -> None:
    rule = {"match": [{"header": "x", "present": True}], "split": [{"version": "2", "weight": 100}]}
    made = compiled(
        split=[{"version": str(at), "weight": weight} for at, weight in enumerate(weights)],
        sticky={"header": "turnout-unit"},
        rules=[{"name": name, **rule} for name in rules],
    )
    is_alone = not rules and weights == (90, 10)
    assert made.unit_header == (b"turnout-unit" if is_alone else None)
    if made.unit_header is not None and unit:
        version = made.split.remembered(unit)
        assert decide(made, {made.unit_header: unit}, 0.5) == (version, "sticky")
