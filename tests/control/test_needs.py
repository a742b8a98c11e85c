"""Why pools are there, and workers that are asked for before a change: over the control API."""

from typing import Any

import httpx2
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.pool import STAMPED_HSET, Keep, Lack, Supervision, Wanted
from gateway.control.registry.catalogue import Catalogue
from gateway.store.documents import Change, Documents, new_operation_id
from tests.control.world import add_ready_versions, add_versions, add_worker, split


async def wish(redis: Redis, version: str, **fields: Any) -> None:
    document = Wanted(**{"workers": 1, "keep": Keep.NEEDED, **fields}).model_dump(mode="json")
    change = Change(keys.wanted_field("digits", version), document, None)
    await Documents(redis).commit([change], author="test", reason="", op_id=new_operation_id())


async def supervise(redis: Redis, name: str, **lacks: Lack) -> None:
    told = Supervision(
        supervisor_id=name, host=name, pid=1, started_ms=1, workers=1, max_workers=9,
        lacks={f"digits {version.removeprefix('v')}": lack for version, lack in lacks.items()},
    )  # fmt: skip
    entry = told.model_dump_json(exclude={"seen_ms"})
    await redis.eval(STAMPED_HSET, 1, keys.SUPERVISORS, name, entry, "", "")


async def pool(api: httpx2.AsyncClient, version: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"/models/digits/versions/{version}")).json()["pool"]
    return found


async def edit(api: httpx2.AsyncClient, *weights: tuple[str, float], **fields: Any) -> httpx2.Response:
    body = {"edit": {"kind": "split", "split": split(*weights)}, **fields}
    return await api.post("/routes/digits/edit", json=body)


async def test_a_pool_is_wanted_by_the_route_then_warm_then_by_nobody(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_ready_versions(redis, "1", "2")
    await wish(redis, "2")
    assert (await pool(api, "2"))["wanted"] == 0
    assert (await edit(api, ("1", 90), ("2", 10))).status_code == 200
    named = await pool(api, "2")
    assert (named["wanted"], named["reasons"], named["stops_in_s"]) == (1, ["split 10 %"], None)
    await edit(api, ("1", 100))
    warm = await pool(api, "2")
    assert (warm["wanted"], warm["reasons"]) == (1, ["was in the route"])
    assert 290 < warm["stops_in_s"] <= 300


async def test_workers_can_be_asked_for_unless_there_shall_be_none(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_versions(redis, "1", "2")
    await wish(redis, "1", workers=2)
    await wish(redis, "2", workers=0)
    asked = await api.post("/models/digits/versions/1/start", json={})
    assert (asked.status_code, asked.json()["workers"], asked.json()["keep"]) == (200, 2, "needed")
    assert (await pool(api, "1"))["wanted"] == 2
    refused = await api.post("/models/digits/versions/2/start", json={})
    assert (refused.status_code, "is to have no workers" in refused.json()["error"]) == (403, True)
    assert (await api.post("/models/digits/versions/9/start", json={})).status_code == 404


async def test_a_refused_change_names_the_versions_that_need_workers_first(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_ready_versions(redis, "1")
    await add_versions(redis, "2")
    refused = await edit(api, ("1", 90), ("2", 10))
    assert refused.status_code == 403
    assert refused.json()["without_workers"] == [{"model": "digits", "version": "2"}]
    await edit(api, ("1", 100))
    plan = {"steps": [{"weight": 5}, {"weight": 100}]}
    rollout = await api.post("/models/digits/rollouts", json={"candidate": "2", "plan": plan})
    assert rollout.status_code == 403
    assert rollout.json()["without_workers"] == [{"model": "digits", "version": "2"}]
    assert (await api.get("/models/digits/rollout")).status_code == 404


async def test_a_rollout_s_candidate_gets_as_many_workers_as_its_baseline(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_ready_versions(redis, "1", "2")
    await wish(redis, "1", workers=3, keep=Keep.ALWAYS)
    await wish(redis, "2")
    await edit(api, ("1", 100))
    plan = {"steps": [{"weight": 5}, {"weight": 100}]}
    body = {"candidate": "2", "plan": plan}
    assert (await api.post("/models/digits/rollouts", json={**body, "dry_run": True})).status_code == 201
    assert (await pool(api, "2"))["size"] == 1
    started = await api.post("/models/digits/rollouts", json=body)
    assert started.status_code == 201, started.text
    found = await pool(api, "2")
    assert (found["size"], found["wanted"]) == (3, 3)
    assert f"rollout {started.json()['rollout_id']}" in found["reasons"]


async def test_every_supervisor_keeps_the_whole_number_and_says_what_it_lacks(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_versions(redis, "1")
    await wish(redis, "1", workers=2, keep=Keep.ALWAYS)
    alone = await pool(api, "1")
    assert (alone["wanted"], alone["is_stuck"]) == (2, True)
    assert "no supervisor is running" in alone["lacks"][0]
    await supervise(redis, "north", v1=Lack(sentence="it is full", is_stuck=True))
    assert (await pool(api, "1"))["lacks"] == ["it is full"]
    await supervise(redis, "south")
    both = await pool(api, "1")
    assert (both["wanted"], both["lacks"], both["is_stuck"]) == (4, ["north: it is full"], False)
    assert any("has 0 of 4 workers ready: north: it is full" in problem
               for problem in (await api.get("/status")).json()["problems"])  # fmt: skip
    assert [told["host"] for told in (await api.get("/pools")).json()["supervisors"]] == ["north", "south"]


async def listed(api: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
    found = (await api.get("/pools")).json()["pools"]
    return {pool["version"]: pool for pool in found}


async def test_idle_pools_are_told_anew_when_anything_about_them_changes(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_versions(redis, "1", "2")
    await wish(redis, "1")
    first = await listed(api)
    assert (first["1"]["size"], first["1"]["wanted"], first["2"]["wanted"]) == (1, 0, None)
    await wish(redis, "1", workers=2)
    assert (await listed(api))["1"]["size"] == 2
    await add_worker(redis, "1")  # no document says it
    assert (await listed(api))["1"]["ready"] == 1
    await redis.delete(keys.WORKERS)
    assert (await listed(api))["1"]["ready"] == 0
    assert (await api.get("/pools", params={"model": "none"})).json()["pools"] == []
    gone = Change(keys.version_field("digits", "2"), None, None)
    await Documents(redis).commit([gone], author="test", reason="", op_id=new_operation_id())
    assert list(await listed(api)) == ["1"]


async def test_a_need_that_ends_by_the_clock_needs_no_commit_to_end(redis: Redis) -> None:
    catalogue = Catalogue(Documents(redis), keep_warm_s=300.0)
    await add_versions(redis, "1", "2")
    await wish(redis, "1", asked_until_ms=1000)
    await wish(redis, "2", asked_until_ms=2000)
    known = (await catalogue.known())["digits"]
    assert [sorted(known.needs(now_ms)) for now_ms in (999, 1500, 2000)] == [["1", "2"], ["2"], []]
