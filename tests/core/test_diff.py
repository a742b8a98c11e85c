"""`gateway.core.diff`: how do two forms of a route differ, in words?"""

from typing import Any

from gateway.contract.route import Route
from gateway.core.diff import differences


def route(**fields: Any) -> Route:
    base = {"model": "digits", "split": [{"version": "1", "weight": 90}, {"version": "2", "weight": 10}]}
    return Route.model_validate(base | fields)


def said(old: Route | None, new: Route | None) -> list[str]:
    return [str(difference) for difference in differences(old, new)]


def test_a_route_does_not_differ_from_itself() -> None:
    assert said(route(), route()) == []
    assert said(None, None) == []


def test_the_order_of_a_split_says_nothing() -> None:
    turned = route(split=[{"version": "2", "weight": 10}, {"version": "1", "weight": 90}])
    assert said(route(), turned) == []


def test_a_new_canary_is_one_line_for_each_weight() -> None:
    wider = route(split=[{"version": "1", "weight": 90}, {"version": "3", "weight": 10}])
    assert said(route(), wider) == ["split.2: 10 -> none", "split.3: none -> 10"]


def test_small_fractions_of_a_percent_are_seen() -> None:
    finer = route(split=[{"version": "1", "weight": 89.999999}, {"version": "2", "weight": 10.000001}])
    assert said(route(), finer) == ["split.1: 90 -> 89.999999", "split.2: 10 -> 10.000001"]


def test_every_part_of_a_document_has_its_path() -> None:
    new = route(
        sticky={"header": "turnout-unit"},
        rules=[
            {
                "name": "beta",
                "match": [{"header": "x-tenant", "exact": "beta"}, {"header": "x-debug", "present": True}],
                "split": [{"version": "2", "weight": 100}],
            }
        ],
        shadows=[{"version": "3", "percent": 20, "match": [{"header": "x", "prefix": "a"}]}],
        fallback="1",
        timeout_s=0.5,
        retry={"attempts": 3},
        record={"output": "label", "percent": 50, "ttl_s": 60, "tolerance": 0.1},
    )
    assert said(route(), new) == [
        "timeout_s: 2 -> 0.5",
        "retry.attempts: 2 -> 3",
        "record.percent: 100 -> 50",
        "record.ttl_s: 604800 -> 60",
        "record.tolerance: 0.01 -> 0.1",
        "sticky: none -> header turnout-unit",
        "rules.beta: none -> x-tenant = beta and x-debug is present => 2=100",
        "shadows.3: none -> 20 where x starts with a",
        "fallback: none -> 1",
        "record.output: none -> label",
    ]


def test_the_order_of_rules_counts() -> None:
    rules = [
        {"name": name, "match": [{"header": "x", "regex": name}], "split": [{"version": "1", "weight": 100}]}
        for name in ("a", "b")
    ]
    assert said(route(rules=rules), route(rules=rules[::-1])) == ["rules: a, b -> b, a"]


def test_slots_are_told() -> None:
    blue = Route.model_validate({"model": "digits", "slots": {"blue": "1", "green": "2", "live": "blue"}})
    green = Route.model_validate({"model": "digits", "slots": {"blue": "1", "green": "2", "live": "green"}})
    assert said(blue, green) == ["split.1: 100 -> none", "slots.live: blue -> green", "split.2: none -> 100"]


def test_a_new_route_is_told_without_what_is_usual() -> None:
    assert said(None, route(timeout_s=5)) == [
        "split.1: none -> 90",
        "split.2: none -> 10",
        "timeout_s: none -> 5",
    ]
    assert said(route(), None) == ["split.1: 90 -> none", "split.2: 10 -> none"]


def test_protection_is_told_in_the_words_of_the_document() -> None:
    new = route(hedge={"after_ms": 20}, concurrency={"adaptive": True, "queue_ms": 100})
    assert sorted(said(route(), new)) == [
        "concurrency.adaptive: false -> true",
        "concurrency.queue_ms: 250 -> 100",
        "hedge.after_ms: none -> 20",
    ]
