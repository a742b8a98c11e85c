"""Blue/green over the control API: checked before, one commit, verified and reported after."""

import asyncio
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from tests.control.world import (
    add_ready_versions,
    add_versions,
    answering_worker,
    following_gateway,
    split,
)


@pytest.fixture
async def live(api: httpx2.AsyncClient, redis: Redis) -> int:
    """Version 1 answers; version 2 is registered and has no worker. Gives the route's revision."""
    await add_ready_versions(redis, "1")
    await add_versions(redis, "2")
    edit = {"kind": "split", "split": split(("1", 100))}
    revision: int = (await api.post("/routes/digits/edit", json={"edit": edit})).json()["revision"]
    return revision


async def cut(api: httpx2.AsyncClient, **wish: Any) -> Any:
    body = {"observe_s": 0, "wait_s": 60, **wish}
    reply = await api.post("/models/digits/cutover", json=body)
    return {"status": reply.status_code, **reply.json()}


async def route_of(api: httpx2.AsyncClient) -> Any:
    return (await api.get("/routes/digits")).json()["document"]


async def until_live(api: httpx2.AsyncClient, version: str) -> None:
    """Asking takes long enough to let others run."""
    while (await route_of(api))["split"] != split((version, 100)):
        continue


async def test_a_cutover_checks_the_workers_switches_and_verifies(
    api: httpx2.AsyncClient, redis: Redis, live: int
) -> None:
    async with answering_worker(redis, "2") as bodies, following_gateway(redis):
        report = await cut(api, to="2")
    assert (report["status"], report["changed"], report["came_from"], report["to"]) == (200, True, "1", "2")
    assert (report["previous_revision"], report["verified"]) == (live, True)
    assert report["applied"]["complete"] is True
    assert [worker["problem"] for worker in report["checked"]] == [None]
    assert bodies == [{"inputs": [{"name": "X", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}]}]
    assert (await route_of(api))["slots"] == {"blue": "1", "green": "2", "live": "green"}
    assert (await route_of(api))["split"] == split(("2", 100))


async def test_back_makes_the_other_slot_live_again(api: httpx2.AsyncClient, redis: Redis, live: int) -> None:
    async with answering_worker(redis, "2"), answering_worker(redis, "1"):
        await cut(api, to="2")
        # The lease of version 1 that nobody answers for is not fit; the operator insists.
        report = await cut(api, back=True, force=True)
    assert (report["came_from"], report["to"]) == ("2", "1")
    assert (await route_of(api))["slots"] == {"blue": "1", "green": "2", "live": "blue"}


async def test_a_second_way_back_never_brings_back_what_was_left(
    api: httpx2.AsyncClient, redis: Redis, live: int
) -> None:
    async with answering_worker(redis, "2"), answering_worker(redis, "1"):
        await cut(api, to="2")
        await cut(api, back=True, force=True)
        again = await cut(api, back=True, force=True)
        assert (again["status"], again["code"]) == (403, "refused")
        assert "turnout cutover digits --to 2" in again["error"]
        assert (await route_of(api))["slots"]["live"] == "blue"
        assert (await cut(api, to="2"))["to"] == "2"


async def test_a_switch_back_is_not_stopped_by_an_older_rollback_of_something_else(
    api: httpx2.AsyncClient, redis: Redis, live: int
) -> None:
    async with answering_worker(redis, "2"), answering_worker(redis, "1"):
        await cut(api, to="2")
        for edit in ({"kind": "fallback", "version": "2"}, {"kind": "rollback"}):
            assert (await api.post("/routes/digits/edit", json={"edit": edit})).status_code == 200
        assert (await cut(api, back=True, force=True))["to"] == "1"


async def test_a_version_without_ready_worker_is_refused(api: httpx2.AsyncClient, live: int) -> None:
    refused = await cut(api, to="2")
    assert (refused["status"], refused["code"]) == (403, "refused")
    assert "version 2 of digits has no ready worker" in refused["error"]
    assert (await api.get("/routes/digits")).json()["revision"] == live


@pytest.mark.parametrize(
    ("worker", "words"),
    [
        ({"infer_status": 500}, "answers a test inference with 500"),
        ({"says_digest": "f" * 64}, "serves another model file"),
    ],
)
async def test_a_worker_that_does_not_answer_rightly_is_refused_unless_forced(
    api: httpx2.AsyncClient, redis: Redis, live: int, worker: dict[str, Any], words: str
) -> None:
    async with answering_worker(redis, "2", **worker):
        refused = await cut(api, to="2")
        assert (refused["status"], refused["code"]) == (403, "refused")
        assert words in refused["error"]
        assert (await api.get("/routes/digits")).json()["revision"] == live
        forced = await cut(api, to="2", force=True)
    assert forced["status"] == 200
    assert words in forced["warnings"][-1]


async def test_a_ready_worker_that_is_not_there_is_refused(
    api: httpx2.AsyncClient, redis: Redis, live: int
) -> None:
    async with answering_worker(redis, "2"):
        pass
    refused = await cut(api, to="2")
    assert (refused["code"], "no answer" in refused["error"]) == ("refused", True)


async def test_a_dry_run_checks_the_workers_and_switches_nothing(
    api: httpx2.AsyncClient, redis: Redis, live: int
) -> None:
    async with answering_worker(redis, "2") as bodies:
        report = await cut(api, to="2", dry_run=True)
    assert (report["changed"], report["dry_run"], report["applied"], len(bodies)) == (True, True, None, 1)
    assert report["differences"] == [
        "split.1: 100 -> none",
        "split.2: none -> 100",
        "slots.blue: none -> 1",
        "slots.green: none -> 2",
        "slots.live: none -> green",
    ]
    assert (await api.get("/routes/digits")).json()["revision"] == live


async def test_the_report_counts_what_clients_saw_around_the_switch(
    api: httpx2.AsyncClient, redis: Redis, live: int
) -> None:
    now_s, _ = await redis.time()
    minute = now_s // 60
    before: dict[Any, Any] = {"p|1|n": 100, "p|1|ok": 99, "p|1|e:deadline": 1, "p|1|h10": 99}
    await redis.hset(keys.evidence("digits", minute - 1), mapping=before)

    async def traffic_after_the_switch() -> None:
        async with asyncio.timeout(60):
            await until_live(api, "2")
        during: dict[Any, Any] = {"p|2|n": 7, "p|2|ok": 6, "p|2|e:bad_upstream": 1, "p|2|h12": 6, "s|1|n": 50}
        await redis.hset(keys.evidence("digits", minute), mapping=during)

    async with answering_worker(redis, "2"), following_gateway(redis):
        report, _ = await asyncio.gather(cut(api, to="2", observe_s=0.3), traffic_after_the_switch())
    assert (report["before"]["requests"], report["before"]["failures"]) == (100, {"deadline": 1})
    assert (report["during"]["requests"], report["during"]["failures"]) == (7, {"bad_upstream": 1})
    assert report["during"]["requests_by_version"] == {"2": 7}
    assert report["during"]["p99_ms"] > 0
    assert report["observed_s"] >= 0.3


async def test_a_stale_revision_is_a_conflict(api: httpx2.AsyncClient, redis: Redis, live: int) -> None:
    async with answering_worker(redis, "2"):
        refused = await cut(api, to="2", expected_revision=live - 1)
    assert (refused["status"], refused["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("wish", "status", "words"),
    [
        ({}, 400, "exactly one of `to` and `back`"),
        ({"to": "2", "back": True}, 400, "exactly one of `to` and `back`"),
        ({"back": True}, 400, "no blue and green slots"),
        ({"to": "9"}, 422, "version 9 of digits is not registered"),
        ({"to": "../x"}, 422, "to: "),
    ],
)
async def test_a_wrong_wish_is_refused(
    api: httpx2.AsyncClient, live: int, wish: dict[str, Any], status: int, words: str
) -> None:
    refused = await cut(api, **wish)
    assert refused["status"] == status
    assert words in refused["error"]


async def test_a_model_without_route_says_so(api: httpx2.AsyncClient) -> None:
    assert (await cut(api, to="2"))["code"] == "no_route"
