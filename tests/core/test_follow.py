"""`gateway.core.follow`: what does a route do when the alias that it follows moves?"""

from typing import Any

from gateway.contract.alias import Answer, Following
from gateway.contract.envelope import Envelope
from gateway.contract.rollout import Phase, Rollout
from gateway.contract.route import Follow, Route
from gateway.core.follow import (
    ChangeRoute,
    Decision,
    Note,
    Rest,
    Seen,
    StartRollout,
    Supersede,
    decide,
    has_moved,
    moved_at,
    route_to,
    stands,
)
from tests.core.rollouts.examples import begun, plan, route

FOLLOW = Follow(alias="champion", plan="standard")


def answered(version: str | None, answer: Answer = Answer.ROLLING, **fields: Any) -> Following:
    return Following(
        alias="champion", version=version, aliases_revision=5, answer=answer, sentence="so", **fields
    )


def rollout_to(version: str, *, author: str = "alias/champion", phase: Phase = Phase.RUNNING) -> Rollout:
    made, _, _ = begun(plan({"weight": 10}, {"weight": 100}))
    fields = {"candidate": version, "author": author, "phase": phase, "step_revision": 7}
    return made.model_copy(update=fields)


def seen(version: str | None = "4", **fields: Any) -> Seen:
    usual: dict[str, Any] = {
        "answered": answered("2"), "has_moved": False, "route": route(("2", 100)), "route_revision": 7,
        "route_author": "ana", "rollout": None,
    }  # fmt: skip
    return Seen(version, **usual | fields)


def decided(version: str | None = "4", *, by: Follow = FOLLOW, **fields: Any) -> Decision:
    return decide(by, seen(version, **fields))


def test_a_move_starts_a_rollout_by_the_plan_or_changes_the_route_where_there_is_none() -> None:
    assert decided() == StartRollout("standard", "4")
    changed = decided(by=Follow(alias="champion"))
    assert isinstance(changed, ChangeRoute)
    assert [(entry.version, entry.weight) for entry in changed.route.split] == [("4", 100)]


def test_a_move_that_was_answered_is_left_alone_whatever_became_of_it() -> None:
    for phase in Phase:
        for author in ("alias/champion", "ana"):
            rollout = rollout_to("4", author=author, phase=phase)
            assert decided(answered=answered("4"), rollout=rollout) == Rest()
    by_hand = decided(answered=answered("4", Answer.ARRIVED), route=route(("2", 100)))
    assert by_hand == Rest()


def test_what_was_refused_or_had_to_wait_is_tried_again() -> None:
    for answer in (Answer.REFUSED, Answer.WAITING):
        assert decided(answered=answered("4", answer)) == StartRollout("standard", "4")


def test_away_and_back_is_a_move_though_the_alias_names_the_same() -> None:
    ended = rollout_to("4", phase=Phase.ROLLED_BACK)
    again = decided(answered=answered("4"), has_moved=True, rollout=ended)
    assert again == StartRollout("standard", "4")


def test_to_follow_another_alias_begins_anew() -> None:
    other = Following(alias="other", version="4", aliases_revision=5, answer=Answer.ARRIVED, sentence="so")
    assert decided(answered=other) == StartRollout("standard", "4")
    assert decided(answered=None) == StartRollout("standard", "4")


def test_a_version_that_answers_all_requests_has_arrived() -> None:
    found = decided("2", answered=None)
    assert isinstance(found, Note)
    assert found.answer is Answer.ARRIVED


def test_an_alias_that_is_removed_moves_nothing_and_ends_nothing() -> None:
    found = decided(None, rollout=rollout_to("4"))
    assert isinstance(found, Note)
    assert found.answer is Answer.NAMELESS
    assert decided(None, answered=answered(None, Answer.NAMELESS)) == Rest()


def test_a_second_move_ends_the_rollout_of_the_first() -> None:
    found = decided("5", rollout=rollout_to("4"), route_author="rollout/r1")
    assert isinstance(found, Supersede)
    assert not found.keep_route


def test_a_second_move_takes_back_nothing_that_somebody_changed_meanwhile() -> None:
    found = decided("5", rollout=rollout_to("4"), route_revision=8, route_author="ana")
    assert isinstance(found, Supersede)
    assert found.keep_route


def test_somebody_elses_rollout_is_waited_for_unless_it_goes_where_the_alias_says() -> None:
    found = decided("5", rollout=rollout_to("4", author="ana"))
    assert isinstance(found, Note)
    assert (found.answer, "ana" in found.sentence) == (Answer.WAITING, True)
    same = decided("4", rollout=rollout_to("4", author="ana"))
    assert isinstance(same, Note)
    assert (same.answer, same.rollout_id) == (Answer.ROLLING, "r1")


def test_slots_stay_slots_and_the_version_is_nobodys_shadow_any_more() -> None:
    slots = {"blue": "2", "green": None, "live": "blue"}
    before = Route.model_validate(
        {"model": "digits", "slots": slots, "shadows": [{"version": "4"}, {"version": "3"}]}
    )
    after = route_to(before, "4")
    assert after.slots is not None
    assert (after.slots.live, after.slots.live_version, after.slots.blue) == ("green", "4", "2")
    assert [shadow.version for shadow in after.shadows] == ["3"]


def entry(revision: int, version: str | None, **others: str) -> Envelope:
    aliases = others | ({} if version is None else {"champion": version})
    return Envelope(
        field="alias/digits", revision=revision, at_ms=1, author="ana", reason="", doc={"aliases": aliases}
    )


def test_moves_are_told_from_moves_of_other_aliases() -> None:
    history = [entry(9, "4", other="1"), entry(8, "4"), entry(7, "2"), entry(5, "4"), entry(4, "2")]
    assert has_moved(answered("4"), "4", history)  # by way of 2, in revision 7
    assert not has_moved(answered("4").model_copy(update={"aliases_revision": 8}), "4", history)
    found = moved_at("champion", history)
    assert found is not None
    assert found.revision == 8


def test_how_it_stands_is_said_in_words() -> None:
    arrived = seen("4", answered=answered("4", rollout_id="r1"), route=route(("4", 100)))
    assert stands(FOLLOW, arrived).state == "arrived"
    by_hand = stands(FOLLOW, seen("4", answered=answered("4", Answer.ARRIVED)))
    assert (by_hand.state, "ana changed the traffic in revision 7" in by_hand.sentence) == ("by_hand", True)
    failed = seen(
        "4", answered=answered("4", rollout_id="r1"), rollout=rollout_to("4", phase=Phase.ROLLED_BACK)
    )
    assert (stands(FOLLOW, failed).state, "rolled back" in stands(FOLLOW, failed).sentence) == ("ended", True)
    assert stands(FOLLOW, seen("9")).state == "unseen"
    refused = seen("4", answered=answered("4", Answer.REFUSED))
    assert (stands(FOLLOW, refused).state, stands(FOLLOW, refused).sentence) == ("refused", "so")
