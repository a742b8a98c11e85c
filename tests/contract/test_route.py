"""A route document that makes no sense is a list of problems, whatever kind of nonsense it is."""

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.contract.route import Route


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"split": []},
        {"slots": None},
        {"slots": 1.5},
        {"slots": "x"},
        {"slots": {"blue": "1"}},
        {"slots": {"blue": "1", "live": []}},
        {"slots": {"blue": [], "live": "blue"}},
    ],
)
def test_a_route_without_a_split_or_slots_that_give_one_is_invalid(parts: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Route.model_validate({"model": "digits", **parts})


def test_slots_give_the_split() -> None:
    route = Route.model_validate({"model": "digits", "slots": {"blue": "1", "live": "blue"}})
    assert [(entry.version, entry.weight) for entry in route.split] == [("1", 100)]
