"""`gateway.core.slots`: to which route does a cutover lead, and to which the way back?"""

from typing import Any

import pytest

from gateway.contract.errors import CallerError
from gateway.contract.route import Route
from gateway.core.slots import cut_back, cut_over, live_version


def route(**fields: Any) -> Route:
    return Route.model_validate({"model": "digits", **fields})


def split(*weights: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"version": version, "weight": weight} for version, weight in weights]


def test_the_first_cutover_makes_slots_with_the_old_version_in_blue() -> None:
    cut = cut_over(route(split=split(("1", 100))), to="2")
    assert cut.slots is not None
    assert (cut.slots.blue, cut.slots.green, cut.slots.live) == ("1", "2", "green")
    assert live_version(cut) == "2"


def test_of_a_split_the_heaviest_other_version_stays_behind() -> None:
    cut = cut_over(route(split=split(("1", 60), ("3", 30), ("2", 10))), to="2")
    assert cut.slots is not None
    assert cut.slots.blue == "1"
    assert live_version(cut) == "2"


def test_the_idle_slot_takes_the_next_version() -> None:
    first = cut_over(route(split=split(("1", 100))), to="2")
    second = cut_over(first, to="3")
    assert second.slots is not None
    assert (second.slots.blue, second.slots.green, second.slots.live) == ("3", "2", "blue")


def test_back_undoes_a_cutover_and_back_again_redoes_it() -> None:
    cut = cut_over(route(split=split(("1", 100))), to="2")
    back = cut_back(cut)
    assert live_version(back) == "1"
    assert cut_back(back) == cut


def test_a_cutover_to_the_live_version_changes_nothing() -> None:
    cut = cut_over(route(split=split(("1", 100))), to="2")
    assert cut_over(cut, to="2") == cut


def test_everything_else_of_the_route_stays() -> None:
    before = route(
        split=split(("1", 100)), fallback="1", timeout_s=5, shadows=[{"version": "3", "percent": 20}]
    )
    assert cut_over(before, to="2").model_dump(exclude={"split", "slots"}) == before.model_dump(
        exclude={"split", "slots"}
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"split": split(("1", 100))}, "rollback"),
        ({"slots": {"blue": "1", "live": "blue"}}, "slot green of digits is empty"),
    ],
)
def test_without_another_slot_there_is_no_way_back(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(CallerError, match=words):
        cut_back(route(**fields))
