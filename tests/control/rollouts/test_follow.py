"""Routes that follow an alias: a move goes through the same gates as any change, and is answered once."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.contract import keys
from gateway.contract.errors import FencedError
from gateway.contract.rollout import Phase
from gateway.control.rollouts.controller import Controller
from gateway.store.documents import Documents
from tests.control.rollouts.world import MODEL, World
from tests.control.world import add_ready_versions, add_versions, add_worker

PLAN = "standard"


async def followed(world: World, *, plan: str | None = PLAN) -> Controller:
    """Version 1 answers, champion names it, and the route follows."""
    controller = world.controller()
    await move(world, "1")
    await follow(world, plan=plan)
    await looked(world, controller)
    return controller


async def follow(world: World, *, plan: str | None = PLAN) -> Any:
    edit = {"kind": "follow", "follow": {"alias": "champion", "plan": plan}}
    reply = await world.api.post(f"/routes/{MODEL}/edit", json={"edit": edit})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def move(world: World, version: str | None, **how: Any) -> Any:
    reply = await world.api.put(f"/models/{MODEL}/aliases/champion", json={"version": version, **how})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def looked(world: World, controller: Controller) -> None:
    """What the leader does with the next tick; leases of workers last only five seconds."""
    for version in ("1", "2", "3"):
        await add_worker(world.redis, version)
    world.clock.now_s += 0.5
    assert await controller._leads()
    assert controller.fence is not None
    while await controller.follower.look(MODEL, fence=controller.fence) is None:
        pass
    await world._followed()


async def told(world: World) -> Any:
    found = (await world.api.get(f"/models/{MODEL}/aliases")).json()["following"]
    assert (await world.api.get(f"/routes/{MODEL}")).json()["following"] == found
    return found


async def put_policy(world: World, **fields: Any) -> None:
    reply = await world.api.put("/policies/strict", json={"policy": {"policy": "strict", **fields}})
    assert reply.status_code == 200, reply.text


async def remove_policy(world: World) -> None:
    headers = {"content-type": "application/json"}
    assert (await world.api.delete("/policies/strict", headers=headers)).status_code == 200


async def test_a_move_starts_a_rollout_in_the_aliass_name_and_says_who_moved_it(world: World) -> None:
    controller = await followed(world)
    assert (await told(world))["state"] == "arrived"
    warned = await move(world, "2", reason="better on the holdout")
    assert "follows champion: it goes there by a rollout with plan standard" in warned["warnings"][0]
    assert (await told(world))["state"] == "unseen"
    await looked(world, controller)
    rollout = await world.rollout()
    assert (rollout.author, rollout.candidate, rollout.phase) == ("alias/champion", "2", Phase.RUNNING)
    assert "champion names 2" in rollout.reason
    assert "ana@desk: alias champion of digits: 1 -> 2 (better on the holdout)" in rollout.reason
    assert [(await told(world))[name] for name in ("state", "rollout_id")] == ["rolling", rollout.rollout_id]
    written = (await world.parts.documents.audit(1))[0]
    assert {change["field"] for change in written["changes"]} == {
        f"rollout/{MODEL}", f"route/{MODEL}", f"following/{MODEL}"
    }  # fmt: skip
    revision = await world.parts.documents.revision()
    await looked(world, controller)
    assert await world.parts.documents.revision() == revision  # nothing more to say


async def test_without_a_plan_all_requests_move_at_once_and_policy_is_asked(world: World) -> None:
    controller = await followed(world, plan=None)
    await put_policy(world, largest_step=50)
    await move(world, "2")
    await looked(world, controller)
    found = await told(world)
    assert (found["state"], found["rules"]) == ("refused", ["strict.largest_step"])
    assert "--force" not in found["sentence"]
    assert await world.weights() == {"1": 100}
    assert "refused: " in (await world.parts.documents.audit(1))[0]["reason"]
    revision = await world.parts.documents.revision()
    await looked(world, controller)
    assert await world.parts.documents.revision() == revision  # the same is not said twice
    await remove_policy(world)
    await looked(world, controller)
    assert await world.weights() == {"2": 100}
    history = (await world.api.get(f"/routes/{MODEL}/history")).json()["history"]
    assert (history[0]["author"], (await told(world))["state"]) == ("alias/champion", "arrived")


async def test_a_version_without_a_worker_is_waited_for(world: World) -> None:
    controller = await followed(world)
    await add_versions(world.redis, "9")
    await move(world, "9")
    await looked(world, controller)
    found = await told(world)
    assert (found["state"], "no ready worker" in found["sentence"]) == ("waiting", True)
    wish = await Documents(world.redis).get(keys.wanted_field("digits", "9"))
    assert wish is not None
    assert wish.author == "alias/champion"
    await looked(world, controller)
    again = await Documents(world.redis).get(keys.wanted_field("digits", "9"))
    assert again is not None
    assert again.revision == wish.revision
    await add_worker(world.redis, "9")
    await looked(world, controller)
    assert (await world.rollout()).candidate == "9"


@pytest.mark.parametrize("plan", [PLAN, None])
async def test_an_approval_that_comes_after_the_workers_have_stopped_asks_for_them_again(
    world: World, plan: str | None
) -> None:
    controller = await followed(world, plan=plan)
    await add_versions(world.redis, "9")
    await put_policy(world, answers=["approved"])
    await move(world, "9")
    await looked(world, controller)
    assert (await told(world))["state"] == "refused"  # before anybody starts workers for nothing
    documents = Documents(world.redis)
    assert await documents.get(keys.wanted_field("digits", "9")) is None
    await remove_policy(world)
    await looked(world, controller)
    assert (await told(world))["state"] == "waiting"
    wish = await documents.get(keys.wanted_field("digits", "9"))
    assert wish is not None, "nobody asks for the workers that it waits for"


async def test_who_wants_no_workers_of_the_version_is_what_the_route_says_it_waits_for(world: World) -> None:
    controller = await followed(world)
    await add_versions(world.redis, "9")
    reply = await world.api.put(f"/models/{MODEL}/versions/9/workers", json={"workers": 0})
    assert reply.status_code == 200, reply.text
    await move(world, "9")
    await looked(world, controller)
    found = await told(world)
    assert (found["state"], "is to have no workers" in found["sentence"]) == ("waiting", True)


async def test_a_move_back_while_the_rollout_goes_on_takes_it_back_at_once(world: World) -> None:
    controller = await followed(world)
    before = await world.served()
    await move(world, "2")
    await looked(world, controller)
    assert await world.served() != before
    await move(world, "1")
    await looked(world, controller)
    rollout = await world.rollout()
    assert (rollout.phase, "champion names 1 now" in rollout.sentence) == (Phase.ABORTED, True)
    assert (await world.served(), (await told(world))["state"]) == (before, "arrived")


async def test_of_two_moves_in_quick_succession_the_second_counts(world: World) -> None:
    await add_ready_versions(world.redis, "3")
    controller = await followed(world)
    await move(world, "2")
    await looked(world, controller)
    first = await world.rollout()
    await move(world, "3")
    await looked(world, controller)
    second = await world.rollout()
    assert (second.candidate, second.before) == ("3", first.before)
    await move(world, "1")
    await move(world, "2")  # before anybody looks
    await looked(world, controller)
    assert (await world.rollout()).candidate == "2"


async def test_a_removed_alias_moves_nothing_and_the_rollout_goes_on(world: World) -> None:
    controller = await followed(world)
    await move(world, "2")
    await looked(world, controller)
    warned = await move(world, None)
    assert "its traffic stays as it is" in warned["warnings"][0]
    await looked(world, controller)
    assert (await world.rollout()).phase is Phase.RUNNING
    assert (await told(world))["state"] == "nameless"


async def test_a_rollout_that_a_person_aborted_is_not_begun_again_before_the_alias_moves(
    world: World,
) -> None:
    controller = await followed(world)
    await move(world, "2")
    await looked(world, controller)
    await world.api.post(f"/models/{MODEL}/rollout/abort", json={"reason": "looks odd"})
    await looked(world, controller)
    found = await told(world)
    assert (found["state"], "looks odd" in found["sentence"]) == ("ended", True)
    await move(world, "1")
    await move(world, "2")
    await looked(world, controller)
    assert (await world.rollout()).phase is Phase.RUNNING


async def test_a_hand_wins_until_the_alias_moves_and_is_not_taken_back_by_it(world: World) -> None:
    await add_ready_versions(world.redis, "3")
    controller = await followed(world)
    await move(world, "2")
    await looked(world, controller)
    edit = {"kind": "split", "split": [{"version": "1", "weight": 60}, {"version": "2", "weight": 40}]}
    await world.api.post(f"/routes/{MODEL}/edit", json={"edit": edit})
    await world.look(controller)
    await looked(world, controller)
    assert await world.weights() == {"1": 60, "2": 40}
    found = await told(world)
    assert (found["state"], "ana@desk" in found["sentence"]) == ("rolling", True)  # paused, and by whom
    await move(world, "3")
    await looked(world, controller)
    assert ((await world.rollout()).candidate, await world.weights()) == ("3", {"1": 60, "2": 40})


async def test_somebody_elses_rollout_is_waited_for(world: World) -> None:
    await add_ready_versions(world.redis, "3")
    controller = await followed(world)
    await world.start(candidate="3")
    await move(world, "2")
    await looked(world, controller)
    assert ((await told(world))["state"], (await world.rollout()).candidate) == ("waiting", "3")
    await world.api.post(f"/models/{MODEL}/rollout/abort", json={})
    await looked(world, controller)
    assert (await world.rollout()).candidate == "2"


async def test_to_stop_following_and_to_begin_again_answers_anew(world: World) -> None:
    controller = await followed(world)
    await move(world, "2")
    await looked(world, controller)
    await world.api.post(f"/models/{MODEL}/rollout/abort", json={})
    await world.api.post(f"/routes/{MODEL}/edit", json={"edit": {"kind": "follow", "follow": None}})
    await looked(world, controller)
    assert await world.parts.documents.get(keys.following_field(MODEL)) is None
    await follow(world)
    await looked(world, controller)
    assert (await world.rollout()).phase is Phase.RUNNING


async def test_who_leads_no_more_begins_nothing(world: World) -> None:
    controller = await followed(world)
    await move(world, "2")
    await world.redis.hset(keys.LEASE, mapping={"until_ms": "1"})
    assert await world.controller("c2")._leads()
    with pytest.raises(FencedError):
        await controller.follower.look(MODEL, fence=controller.fence or 0)
    assert await world.weights() == {"1": 100}


async def test_a_plan_that_does_not_exist_is_refused_where_the_route_is_edited(world: World) -> None:
    edit = {"kind": "follow", "follow": {"alias": "champion", "plan": "nonesuch"}}
    reply = await world.api.post(f"/routes/{MODEL}/edit", json={"edit": edit})
    assert (reply.status_code, "follow.plan" in reply.json()["error"]) == (422, True)
    warned = (await follow(world))["warnings"]
    assert "names no version yet" in warned[0]


async def test_the_controller_finds_what_follows_and_tries_again_when_a_policy_changes(world: World) -> None:
    controller = await followed(world)

    async def tick() -> None:
        world.clock.now_s += 0.01  # never long enough to be tried again for time alone
        await controller.tick()
        if controller.follower._round is not None:
            await asyncio.wait([controller.follower._round])

    await tick()
    await put_policy(world, answers=["approved"])
    await move(world, "2")
    await tick()
    assert (await told(world))["rules"] == ["strict.answers"]
    await tick()
    await remove_policy(world)
    await tick()
    assert (await world.rollout()).candidate == "2"
    await controller._end()


async def test_a_move_between_two_reads_of_one_look_is_for_the_next_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the version that was aborted would be begun again, since the alias seems to have been away."""
    await add_ready_versions(world.redis, "3")
    controller = await followed(world)
    await move(world, "2")
    await looked(world, controller)
    await world.api.post(f"/models/{MODEL}/rollout/abort", json={})
    read = Documents.several

    async def moved_meanwhile(self: Documents, fields: Sequence[str]) -> Any:
        found = await read(self, fields)
        monkeypatch.setattr(Documents, "several", read)
        await move(world, "3")
        return found

    monkeypatch.setattr(Documents, "several", moved_meanwhile)
    await looked(world, controller)
    assert (await world.rollout()).phase is Phase.ABORTED
    await looked(world, controller)
    assert ((await world.rollout()).candidate, (await world.rollout()).phase) == ("3", Phase.RUNNING)
