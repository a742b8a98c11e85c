"""`gateway.core.edit`: what an operator may do to one route, and what it looks like afterwards."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from gateway.contract.envelope import Envelope
from gateway.contract.errors import CallerError
from gateway.contract.route import Route
from gateway.core.edit import Edit, Edited, edit_route

EDIT: TypeAdapter[Edit] = TypeAdapter(Edit)


def route(**fields: Any) -> Route:
    return Route.model_validate({"model": "digits", **fields})


def split(*weights: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"version": version, "weight": weight} for version, weight in weights]


ONE = route(split=split(("1", 100)))
SLOTS = route(slots={"blue": "1", "green": "2", "live": "blue"})


def edit(current: Route | None, history: tuple[Envelope, ...] = (), **fields: Any) -> Edited:
    return edit_route("digits", current, EDIT.validate_python(fields), history=history)


def weights(edited: Edited) -> dict[str, float]:
    assert edited.route is not None
    return {entry.version: entry.weight for entry in edited.route.split}


def entry(revision: int, doc: dict[str, Any] | None, *, is_return: bool = False) -> Envelope:
    return Envelope(
        field="route/digits",
        revision=revision,
        at_ms=0,
        author="ana",
        reason="",
        doc=doc,
        is_return=is_return,
    )


def test_a_split_replaces_the_old_one_and_keeps_the_rest() -> None:
    before = route(split=split(("1", 100)), fallback="1", timeout_s=7)
    after = edit(before, kind="split", split=split(("1", 90), ("2", 10)))
    assert weights(after) == {"1": 90, "2": 10}
    assert after.route is not None
    assert (after.route.fallback, after.route.timeout_s) == ("1", 7)


def test_a_split_of_a_model_without_route_makes_one() -> None:
    assert weights(edit(None, kind="split", split=split(("1", 100)))) == {"1": 100}


def test_a_split_over_versions_dissolves_the_slots_and_says_so() -> None:
    after = edit(SLOTS, kind="split", split=split(("1", 90), ("2", 10)))
    assert after.route is not None
    assert after.route.slots is None
    assert "dissolved" in after.notes[0]


def test_a_split_that_is_the_live_version_keeps_the_slots() -> None:
    after = edit(SLOTS, kind="split", split=split(("1", 100)))
    assert after.route == SLOTS
    assert after.notes == ()


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (split(("1", 90), ("2", 5)), "split: weights sum to 95, not to 100"),
        (split(("1", 50), ("1", 50)), "split: version 1 is listed twice"),
    ],
)
def test_a_split_that_is_wrong_is_refused_with_its_path(wanted: Any, problem: str) -> None:
    with pytest.raises(CallerError) as refused:
        edit(ONE, kind="split", split=wanted)
    assert refused.value.code == "invalid_document"
    assert refused.value.data["problems"] == [problem]


def test_shadows_are_set_as_a_whole_and_keep_their_conditions() -> None:
    condition = {"header": "x-tenant", "exact": "beta"}
    before = route(
        split=split(("1", 100)),
        shadows=[{"version": "3", "percent": 20, "match": [condition]}, {"version": "4"}],
    )
    after = edit(before, kind="shadows", shadows=[{"version": "3", "percent": 50}])
    assert after.route is not None
    (shadow,) = after.route.shadows
    assert (shadow.version, shadow.percent, shadow.match[0].exact) == ("3", 50, "beta")


def test_no_shadows_end_all_copies() -> None:
    before = route(split=split(("1", 100)), shadows=[{"version": "3"}])
    assert edit(before, kind="shadows", shadows=[]).route == ONE


def test_a_pin_with_conditions_is_a_rule_in_front_of_the_others() -> None:
    first = edit(ONE, kind="pin", version="2", match=[{"header": "x-a", "exact": "1"}], name="a")
    second = edit(first.route, kind="pin", version="3", match=[{"header": "x-b", "present": True}])
    assert second.route is not None
    assert [rule.name for rule in second.route.rules] == ["pin-3", "a"]
    assert second.route.rules[0].split[0].version == "3"


def test_a_rule_of_the_same_name_is_replaced_in_its_place() -> None:
    before = route(
        split=split(("1", 100)),
        rules=[
            {"name": name, "match": [{"header": "x", "exact": name}], "split": split(("1", 100))}
            for name in ("a", "b")
        ],
    )
    after = edit(before, kind="pin", version="2", match=[{"header": "x", "exact": "b"}], name="b")
    assert after.route is not None
    assert [(rule.name, rule.split[0].version) for rule in after.route.rules] == [("a", "1"), ("b", "2")]


def test_a_pin_without_conditions_sends_everything_to_one_version() -> None:
    assert weights(edit(ONE, kind="pin", version="2")) == {"2": 100}


def test_a_rule_is_removed_by_name_and_an_unknown_name_is_told() -> None:
    before = edit(ONE, kind="pin", version="2", match=[{"header": "x", "exact": "1"}], name="a").route
    assert edit(before, kind="remove_rule", name="a").route == ONE
    with pytest.raises(CallerError, match="no rule named b"):
        edit(before, kind="remove_rule", name="b")


def test_a_fallback_is_set_and_removed() -> None:
    after = edit(ONE, kind="fallback", version="2").route
    assert after is not None
    assert after.fallback == "2"
    assert edit(after, kind="fallback", version=None).route == ONE


def test_a_replacement_must_be_about_the_same_model() -> None:
    with pytest.raises(CallerError, match="about iris, not about digits"):
        edit(ONE, kind="replace", route={"model": "iris", "split": split(("1", 100))})


@pytest.mark.parametrize("kind", ["shadows", "remove_rule", "fallback", "delete"])
def test_what_needs_a_route_says_how_to_make_one(kind: str) -> None:
    fields: dict[str, dict[str, Any]] = {
        "shadows": {"shadows": []},
        "remove_rule": {"name": "a"},
        "fallback": {"version": None},
    }
    with pytest.raises(CallerError, match="turnout route split digits"):
        edit(None, kind=kind, **fields.get(kind, {}))


def test_a_rollback_takes_the_newest_form_that_differs() -> None:
    old, new = (route(split=split(("1", w), ("2", 100 - w))).model_dump(mode="json") for w in (100, 90))
    history = (entry(5, new), entry(4, new), entry(3, None), entry(2, old))
    assert edit(None, history, kind="rollback").route == Route.model_validate(old)


def doc(version: str) -> dict[str, Any]:
    return route(split=split((version, 100))).model_dump(mode="json")


def test_a_second_rollback_never_brings_back_what_the_first_left() -> None:
    history = (
        entry(9, doc("2"), is_return=True), entry(8, doc("3")), entry(7, doc("2")), entry(6, doc("1")),
    )  # fmt: skip
    with pytest.raises(CallerError, match="in revision 9 by ana") as caught:
        edit(None, history, kind="rollback")
    assert caught.value.code == "refused"
    assert (caught.value.data["further_back"], caught.value.data["left"]) == (6, 8)
    assert weights(edit(None, history, kind="rollback", to=8)) == {"3": 100}
    assert weights(edit(None, history, kind="rollback", to=6)) == {"1": 100}


def test_going_further_back_never_means_what_a_rollback_left() -> None:
    history = (
        entry(9, doc("2"), is_return=True), entry(8, doc("3")), entry(7, doc("2")), entry(6, doc("3")),
    )  # fmt: skip
    with pytest.raises(CallerError) as caught:
        edit(None, history, kind="rollback")
    assert (caught.value.data["further_back"], caught.value.data["left"]) == (None, 8)


def test_a_change_after_a_rollback_is_taken_back_as_any() -> None:
    history = (entry(10, doc("3")), entry(9, doc("2"), is_return=True), entry(8, doc("3")))
    assert weights(edit(None, history, kind="rollback")) == {"2": 100}


def test_a_deletion_that_was_taken_back_is_offered_as_no_form() -> None:
    history = (entry(4, doc("1"), is_return=True), entry(3, None), entry(2, doc("1")))
    with pytest.raises(CallerError, match=r"nothing was changed$"):
        edit(None, history, kind="rollback")


def test_a_rollback_names_any_kept_revision() -> None:
    old, new = (route(split=split(("1", w), ("2", 100 - w))).model_dump(mode="json") for w in (100, 90))
    history = (entry(5, new), entry(3, None), entry(2, old))
    assert edit(None, history, kind="rollback", to=2).route == Route.model_validate(old)
    with pytest.raises(CallerError, match="revision 3 deleted"):
        edit(None, history, kind="rollback", to=3)
    with pytest.raises(CallerError, match="no revision 4; the newest are 5, 2"):
        edit(None, history, kind="rollback", to=4)


def test_a_rollback_needs_something_to_go_back_to() -> None:
    history = (entry(5, ONE.model_dump(mode="json")),)
    with pytest.raises(CallerError, match="no earlier route"):
        edit(ONE, history, kind="rollback")
