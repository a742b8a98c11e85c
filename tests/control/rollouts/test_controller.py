"""The controller moves a rollout through its plan, and nothing that happens to it bends the plan."""

import pytest

from gateway.contract import keys
from gateway.contract.errors import ConflictError, FencedError
from gateway.contract.rollout import Phase
from gateway.control.rollouts.act import Actor
from tests.control.rollouts.world import ERROR_GATE, MODEL, PLAN, World
from tests.control.world import announce


async def _until_over(world: World, *, looks: int = 60) -> None:
    controller = world.controller()
    for _ in range(looks):
        await world.look(controller)
        if (await world.rollout()).is_over:
            return
    raise AssertionError(f"not over: {await world.rollout()}")


async def test_a_rollout_without_trouble_goes_through_every_step_to_its_end(world: World) -> None:
    await world.start()
    assert (await world.served()).shadows[0].version == "2"
    await _until_over(world)
    rollout = await world.rollout()
    assert rollout.phase is Phase.SUCCEEDED
    assert (await world.weights())["2"] == 100
    steps = [event.step for event in rollout.events]
    assert sorted(set(steps)) == [0, 1, 2, 3]
    audit = [entry["author"] for entry in await world.parts.documents.audit(20)]
    assert audit.count(rollout.route_author) == 4


async def test_the_route_and_the_rollout_always_change_in_one_commit(world: World) -> None:
    await world.start()
    await _until_over(world)
    for entry in await world.parts.documents.audit(20):
        fields = {change["field"] for change in entry["changes"]}
        if entry["author"].startswith("rollout/"):
            assert keys.rollout_field(MODEL) in fields


async def test_no_step_is_shorter_than_planned_by_the_time_that_gateways_served_it(world: World) -> None:
    await world.start()
    controller = world.controller()
    await world.look(controller)  # the first look after a start counts nothing
    for _ in range(3):
        await world.look(controller, after_s=0.6)
    assert (await world.rollout()).step == 0
    await world.look(controller, after_s=0.6)
    assert (await world.rollout()).step == 1


async def test_time_in_which_nobody_looked_counts_no_more_than_a_lease(world: World) -> None:
    await world.start({"steps": [{"weight": 10, "hold": {"min_s": 20}}]})
    controller = world.controller()
    await world.look(controller)
    await world.look(controller, after_s=86_400)
    progress = await world.parts.leases.progress(MODEL)
    assert progress is not None
    assert progress.counted_s == 5


async def test_a_new_controller_goes_on_where_the_last_one_stopped(world: World) -> None:
    await world.start({"steps": [{"weight": 10, "hold": {"min_s": 3}}]})
    first = world.controller("c1")
    for _ in range(4):
        await world.look(first)
    await world.parts.leases.give_up("c1")
    second = world.controller("c2")
    await world.look(second, after_s=60)  # its first look: nothing counts
    progress = await world.parts.leases.progress(MODEL)
    assert progress is not None
    assert progress.counted_s == pytest.approx(1.5)


async def test_a_bad_version_is_taken_back_at_the_next_look(world: World) -> None:
    before = await world.served()
    await world.start({"steps": [{"weight": 50, "hold": {"min_s": 60}}], "gates": [ERROR_GATE]})
    controller = world.controller()
    await world.look(controller)
    await world.count("2", n=400, ok=100, e_bad_upstream=300)
    await world.look(controller)
    rollout = await world.rollout()
    assert rollout.phase is Phase.ROLLED_BACK
    assert (await world.served()) == before
    assert "error rate" in rollout.sentence


async def test_what_happened_before_the_rollout_in_the_same_minute_does_not_count(world: World) -> None:
    await world.count("2", n=400, ok=0, e_bad_upstream=400)
    await world.start({"steps": [{"weight": 50, "hold": {"min_s": 60}}], "gates": [ERROR_GATE]})
    controller = world.controller()
    for _ in range(3):
        await world.look(controller)
    assert (await world.rollout()).phase is Phase.RUNNING
    progress = await world.parts.leases.progress(MODEL)
    assert progress is not None
    assert (progress.requests, progress.errors) == (0, 0)


async def test_a_persons_edit_pauses_it_and_is_left_alone(world: World) -> None:
    await world.start()
    controller = world.controller()
    await world.look(controller)
    edit = {"kind": "split", "split": [{"version": "1", "weight": 60}, {"version": "2", "weight": 40}]}
    reply = await world.api.post(f"/routes/{MODEL}/edit", json={"edit": edit})
    assert any("rollout" in warning for warning in reply.json()["warnings"])
    await world.look(controller)
    rollout = await world.rollout()
    assert rollout.phase is Phase.PAUSED
    assert "ana@desk" in rollout.sentence
    assert await world.weights() == {"1": 60, "2": 40}


async def test_a_commit_that_meets_a_persons_edit_is_given_up_and_looked_at_anew(world: World) -> None:
    await world.start()
    rollout, seen = await world.rollout(), None
    controller = world.controller()
    await world.look(controller)
    seen = await controller.observer.see(rollout, external={})
    edit = {"kind": "split", "split": [{"version": "1", "weight": 60}, {"version": "2", "weight": 40}]}
    await world.api.post(f"/routes/{MODEL}/edit", json={"edit": edit})
    actor = Actor(world.parts.documents, world.parts.leases, controller.fence or 0)
    with pytest.raises(ConflictError):
        await actor.commit(rollout, rollout.before, seen=seen, revision=rollout.step_revision or 0)
    assert await world.weights() == {"1": 60, "2": 40}


async def test_one_that_was_replaced_as_leader_can_write_nothing(world: World) -> None:
    await world.start()
    old, new = world.controller("old"), world.controller("new")
    await world.look(old)
    await world.redis.hset(keys.LEASE, "until_ms", "1")
    await world.look(new)
    before = {key: await world.redis.dump(key) for key in await world.redis.keys("*rollout*")}
    assert old.fence is not None
    actor = Actor(world.parts.documents, world.parts.leases, old.fence)
    with pytest.raises(FencedError):
        await old.step(MODEL, actor)
    rollout = await world.rollout()
    seen = await old.observer.see(rollout, external={})
    with pytest.raises(FencedError):
        await actor.commit(rollout, rollout.before, seen=seen, revision=rollout.step_revision or 0)
    assert {key: await world.redis.dump(key) for key in await world.redis.keys("*rollout*")} == before


async def test_a_gateway_that_is_behind_stops_the_time(world: World) -> None:
    await world.start({"steps": [{"weight": 10, "hold": {"min_s": 60}}]})
    controller = world.controller()
    await world.look(controller)
    await announce(world.redis, "gw-2", 1)
    world.clock.now_s += 1
    rollout = await world.rollout()
    seen = await controller.observer.see(rollout, external={})
    assert (seen.gateways, seen.gateways_behind) == (2, 1)


async def test_only_models_with_a_live_rollout_are_looked_at(world: World) -> None:
    controller = world.controller()
    assert await controller._live.models() == []
    await world.start()
    assert await controller._live.models() == [MODEL]
    await world.api.post(f"/models/{MODEL}/rollout/abort", json={})
    assert await controller._live.models() == []


async def test_one_rollout_that_cannot_be_read_does_not_stop_the_others(world: World) -> None:
    await world.start(PLAN)
    await world.redis.hset(keys.DOCUMENTS, "rollout/broken", '{"field":"x","revision":1}')
    controller = world.controller()
    for _ in range(3):
        world.clock.now_s += 0.5
        await controller.tick()
        for task in list(controller._looks.values()):
            await task
    progress = await world.parts.leases.progress(MODEL)
    assert progress is not None
    assert progress.counted_s > 0
    await controller._end()


async def test_a_rollout_stops_when_its_candidate_has_answered_too_many_units(world: World) -> None:
    await world.route(sticky={"header": "turnout-unit"})
    told = await world.start({"steps": [{"weight": 10, "hold": {"min_s": 60}}], "limits": {"units": 50}})
    counting = (await world.served()).counting
    assert counting is not None
    assert (counting.rollout_id, counting.version) == (told["rollout_id"], "2")
    controller = world.controller()
    await world.parts.predictions.count_units(MODEL, told["rollout_id"], "2", [b"%d" % n for n in range(40)])
    await world.look(controller)
    assert (await world.rollout()).phase is Phase.RUNNING
    await world.parts.predictions.count_units(MODEL, told["rollout_id"], "2", [b"%d" % n for n in range(60)])
    await world.look(controller)
    rollout = await world.rollout()
    assert rollout.phase is Phase.PAUSED
    assert "60 units" in rollout.sentence
    await world.api.post(f"/models/{MODEL}/rollout/abort", json={})
    assert (await world.served()).counting is None


async def test_units_are_counted_no_longer_than_the_rollout_lasts(world: World) -> None:
    await world.route(sticky={"header": "turnout-unit"})
    await world.start()
    await _until_over(world)
    assert (await world.rollout()).phase is Phase.SUCCEEDED
    assert (await world.served()).counting is None


async def test_a_limit_of_units_needs_a_route_that_knows_units(world: World) -> None:
    plan = {"steps": [{"weight": 10}], "limits": {"units": 50}}
    reply = await world.api.post(f"/models/{MODEL}/rollouts", json={"plan": plan, "candidate": "2"})
    assert reply.status_code == 422
    assert reply.json()["problems"][0].startswith("limits.units:")
