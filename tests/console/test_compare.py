"""Which two versions the page of comparisons shows before anybody chooses."""

from typing import Any

import pytest

from gateway.console.pages.compare import first_pair

ROUTE = {"document": {"split": [{"version": "1", "weight": 90}, {"version": "4", "weight": 10}]}}
SHADOWED = {"document": {"split": [{"version": "1", "weight": 100}], "shadows": [{"version": "3"}]}}
ASKED = {"versions": [{"version": "2", "requests": 9}, {"version": "1", "requests": 5}]}


@pytest.mark.parametrize(
    ("route", "answer", "pair"),
    [
        (ROUTE, ASKED, ["1", "4"]),  # 4 has answered nobody yet: its traffic began a moment ago
        (SHADOWED, ASKED, ["1", "3"]),
        (None, ASKED, ["2", "1"]),
        (None, None, ["1", "2"]),
        ({"document": None}, ASKED, ["2", "1"]),  # it cannot be read
    ],
)
def test_what_the_route_sends_requests_to_is_compared_first(route: Any, answer: Any, pair: list[str]) -> None:
    assert first_pair(["1", "2", "3", "4"], answer, route) == pair


def test_a_model_of_one_version_is_compared_with_itself_and_one_of_none_with_nothing() -> None:
    assert first_pair(["1"], None, None) == ["1", "1"]
    assert first_pair([], None, None) == ["", ""]
