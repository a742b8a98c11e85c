"""What operators ask of rollouts over HTTP, and what they are told."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.errors import ConflictError
from gateway.contract.rollout import Phase
from gateway.control.api.events import _news
from gateway.control.rollouts.act import Actor
from gateway.store.embedded import EmbeddedServer
from tests.control.rollouts.world import ERROR_GATE, MODEL, PLAN, World


async def _start(world: World, **body: Any) -> httpx2.Response:
    return await world.api.post(f"/models/{MODEL}/rollouts", json={"plan": PLAN, "candidate": "2"} | body)


async def test_a_start_names_every_problem_at_its_path_and_starts_nothing(world: World) -> None:
    plan = PLAN | {"baseline": "9", "webhooks": ["http://hooks.example/x"]}
    reply = await _start(world, plan=plan, candidate="8")
    assert reply.status_code == 422
    paths = [problem.partition(":")[0] for problem in reply.json()["problems"]]
    assert paths == ["candidate", "baseline", "webhooks"]
    assert (await world.api.get(f"/models/{MODEL}/rollout")).status_code == 404


async def test_a_plan_that_is_none_is_refused_with_the_path_inside_it(world: World) -> None:
    reply = await _start(world, plan={"steps": [{"weight": 10, "pause": {}}]})
    assert reply.status_code == 422
    assert reply.json()["problems"][0].startswith("plan.steps.0: give exactly one of")


async def test_a_dry_run_checks_all_and_writes_nothing(world: World, redis: Redis) -> None:
    before = {key: await redis.dump(key) for key in await redis.keys("*") if b"gateways" not in key}
    reply = await _start(world, dry_run=True)
    assert reply.status_code == 201
    assert reply.json()["dry_run"] is True
    assert [step["title"] for step in reply.json()["steps"]][:2] == ["shadow 100 %", "weight 10 %"]
    assert {key: await redis.dump(key) for key in await redis.keys("*") if b"gateways" not in key} == before


async def test_a_second_rollout_of_the_same_model_is_a_conflict(world: World) -> None:
    first = await world.start()
    reply = await _start(world)
    assert reply.status_code == 409
    assert reply.json()["rollout_id"] == first["rollout_id"]


async def test_of_two_starts_at_once_one_wins(world: World) -> None:
    replies = await asyncio.gather(*(_start(world) for _ in range(4)))
    assert sorted(reply.status_code for reply in replies) == [201, 409, 409, 409]


async def test_pause_resume_and_promote_are_events_of_their_author(world: World) -> None:
    await world.start({"steps": [{"weight": 10, "hold": {"min_s": 3600}}, {"weight": 100}]})
    for verb in ("pause", "resume", "promote"):
        reply = await world.api.post(
            f"/models/{MODEL}/rollout/{verb}", json={"reason": "because", "wait_s": 60}
        )
        assert reply.status_code == 200, reply.text
    told = (await world.api.get(f"/models/{MODEL}/rollout")).json()
    assert [event["what"] for event in told["events"]] == ["started", "paused", "resumed", "promoted"]
    assert {event["author"] for event in told["events"]} == {"ana@desk"}
    controller = world.controller()
    await world.look(controller)
    await world.look(controller)
    assert (await world.rollout()).phase is Phase.SUCCEEDED


async def test_a_command_for_another_rollout_is_a_conflict(world: World) -> None:
    await world.start()
    reply = await world.api.post(f"/models/{MODEL}/rollout/abort", json={"rollout_id": "r-other"})
    assert reply.status_code == 409
    assert (await world.rollout()).phase is Phase.RUNNING


async def test_abort_works_without_any_controller_and_puts_the_route_back(world: World) -> None:
    before = await world.served()
    await world.start()
    assert await world.served() != before
    told = (await world.api.get(f"/models/{MODEL}/rollout")).json()
    assert told["controller"] is None
    reply = await world.api.post(
        f"/models/{MODEL}/rollout/abort", json={"reason": "a bad feeling", "wait_s": 60}
    )
    assert reply.json()["phase"] == "aborted"
    assert reply.json()["applied"]["complete"] is True
    assert await world.served() == before


async def test_abort_wins_against_a_controller_that_keeps_advancing(world: World) -> None:
    """Steps that pass at once: the controller commits as fast as it can."""
    await world.start({"steps": [{"weight": weight} for weight in range(1, 33)]})
    controller = world.controller()
    await world.look(controller)
    actor = Actor(world.parts.documents, world.parts.leases, controller.fence or 0)

    async def advance() -> None:
        while not (await world.rollout()).is_over:
            with suppress(ConflictError):
                await controller.step(MODEL, actor)

    advancing = asyncio.create_task(advance())
    reply = await world.api.post(f"/models/{MODEL}/rollout/abort", json={})
    await asyncio.wait_for(advancing, 10)
    assert reply.status_code == 200, reply.text
    rollout = await world.rollout()
    assert rollout.phase is Phase.ABORTED
    assert await world.weights() == {"1": 100}


async def test_without_redis_an_abort_says_so(world: World, redis_server: EmbeddedServer) -> None:
    await world.start()
    redis_server.stop()
    reply = await world.api.post(f"/models/{MODEL}/rollout/abort", json={})
    assert reply.status_code == 503
    assert reply.json()["code"] == "store_away"


async def test_the_list_shows_the_newest_of_each_model_and_history_shows_all(world: World) -> None:
    for _ in range(2):
        await world.start()
        await world.api.post(f"/models/{MODEL}/rollout/abort", json={})
    listed = (await world.api.get("/rollouts")).json()["rollouts"]
    assert [(item["model"], item["phase"]) for item in listed] == [(MODEL, "aborted")]
    history = (await world.api.get(f"/models/{MODEL}/rollouts/history")).json()["rollouts"]
    assert len({item["rollout_id"] for item in history}) == 2
    assert all([event["what"] for event in item["events"]] == ["started", "aborted"] for item in history)


async def test_a_rollout_edited_into_nonsense_is_said_and_not_acted_on(world: World) -> None:
    await world.start()
    await world.redis.hset(keys.DOCUMENTS, keys.rollout_field(MODEL), "{}")
    reply = await world.api.get(f"/models/{MODEL}/rollout")
    assert reply.status_code == 503
    assert "cannot be read" in reply.json()["error"]


async def test_the_stream_tells_commits_and_events_and_goes_on_where_a_reader_was(world: World) -> None:
    since = await world.parts.documents.revision()
    await world.start()
    await world.api.post(f"/models/{MODEL}/rollout/abort", json={})
    news = await _news(world.parts.documents, since)
    assert [revision for revision, _ in news] == [since + 1, since + 2]
    first = news[0][1].split("\n\n")
    assert first[0].startswith("event: rollout\n")
    assert json.loads(first[0].split("data: ")[1])["event"]["what"] == "started"
    assert f"id: {since + 1}" in first[1]
    assert await _news(world.parts.documents, since + 2) == []


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "abort"])
async def test_a_command_without_a_rollout_says_how_to_start_one(world: World, verb: str) -> None:
    reply = await world.api.post(f"/models/{MODEL}/rollout/{verb}", json={})
    assert reply.status_code == 404
    assert "turnout rollout start" in reply.json()["error"]


async def test_a_rehearsal_tells_what_a_plan_would_have_done_and_changes_nothing(world: World) -> None:
    now_ms = (await world.parts.fleet.workers()).now_ms
    for minute in range(now_ms // 60_000 - 10, now_ms // 60_000):
        key = keys.evidence(MODEL, minute)
        sums: Any = {"p|1|n": 600, "p|1|ok": 600, "s|2|n": 600, "s|2|ok": 300, "s|2|e:bad_upstream": 300}
        await world.redis.hset(key, mapping=sums)
    revision = await world.parts.documents.revision()
    body = {"plan": PLAN | {"gates": [ERROR_GATE]}, "candidate": "2"}
    told = (await world.api.post(f"/models/{MODEL}/rollouts/rehearse", json=body)).json()
    assert (told["phase"], told["minutes"]) == ("rolled_back", 10)
    assert "error rate" in told["sentence"]
    assert await world.parts.documents.revision() == revision
    fine = await world.api.post(f"/models/{MODEL}/rollouts/rehearse", json=body | {"plan": PLAN})
    assert fine.json()["phase"] == "succeeded"


async def test_an_abort_may_leave_the_traffic_as_it_is(world: World) -> None:
    await world.start({"steps": [{"weight": 30, "hold": {"min_s": 3600}}]})
    for verb, status in (("pause", 400), ("abort", 200)):
        reply = await world.api.post(f"/models/{MODEL}/rollout/{verb}", json={"keep_route": True})
        assert reply.status_code == status
    assert await world.weights() == {"1": 70, "2": 30}


async def test_status_names_a_rollout_that_stands_still_and_one_that_waits_for_somebody(world: World) -> None:
    await world.start()
    still = (await world.api.get("/status")).json()
    assert still["rollouts"] == 1
    assert any("stands still: no control process" in problem for problem in still["problems"])
    await world.look(world.controller())
    assert (await world.api.get("/status")).json()["problems"] == []
    await world.api.post(f"/models/{MODEL}/rollout/pause", json={"reason": "lunch", "wait_s": 60})
    waits = (await world.api.get("/status")).json()["problems"]
    assert len(waits) == 1
    assert "waits for somebody: paused by ana@desk: lunch" in waits[0]
