"""The whole installation at one look: what is wrong, in sentences."""

import httpx2
from redis.asyncio import Redis

from gateway.store.predictions import Batch, Predictions
from tests.control.world import add_ready_versions, add_versions, announce, following_gateway, split


async def test_all_is_well_with_gateways_routes_and_workers(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_ready_versions(redis, "1")
    edit = {"kind": "split", "split": split(("1", 100))}
    async with following_gateway(redis):
        await api.post("/routes/digits/edit", json={"edit": edit, "wait_s": 60})
        status = (await api.get("/status")).json()
        gateways = (await api.get("/gateways")).json()
    assert status["problems"] == []
    assert (status["gateways"], status["gateways_behind"], status["models"], status["routes"]) == (1, 0, 1, 1)
    assert status["workers_ready"] == 1
    assert [item["is_behind"] for item in gateways["gateways"]] == [False]
    assert gateways["revision"] == status["revision"]


async def test_everything_that_is_wrong_is_told(api: httpx2.AsyncClient, redis: Redis) -> None:
    assert "no gateway is running" in (await api.get("/status")).json()["problems"][0]
    await add_versions(redis, "1")
    edit = {"kind": "split", "split": split(("1", 100))}
    await api.post("/routes/digits/edit", json={"edit": edit, "force": True})
    await api.put("/models/digits/versions/1/workers", json={"workers": 2})
    await announce(redis, "gw-1", 1, problems=3)
    problems = (await api.get("/status")).json()["problems"]
    for words in (
        "gateway gw-1 at 127.0.0.1:1080 serves revision 1, not 3",
        "finds 3 bad documents",
        "version 1 of digits is to answer requests, but has no ready worker",
        "version 1 of digits has 0 of 2 workers ready",
    ):
        assert any(words in problem for problem in problems), (words, problems)


async def test_what_gateways_refuse_is_told_with_what_to_do(api: httpx2.AsyncClient, redis: Redis) -> None:
    await announce(redis, "gw-1", 0, refused={"unauthenticated": 40, "bad_request": 1})
    await announce(redis, "gw-2", 0, refused={"unauthenticated": 2, "over_limit": 1})
    status = (await api.get("/status")).json()
    assert status["refused"] == {"unauthenticated": 42, "bad_request": 1, "over_limit": 1}
    assert [problem.partition(":")[0] for problem in status["problems"]] == [
        "42 requests were refused in the last minute",
        "1 request was refused in the last minute",
    ]
    assert all("`turnout key list`" in problem for problem in status["problems"])


async def test_a_version_that_has_no_room_for_requests_is_told(api: httpx2.AsyncClient, redis: Redis) -> None:
    await announce(redis, "gw-1", 0)
    now_s, _ = await redis.time()
    counts: dict[str, int | float] = {"p|1|n": 9, "p|1|ok": 2, "p|1|e:overloaded": 7}
    await Predictions(redis).write("digits", "gw-1", Batch(1, [], {now_s // 60: counts}))
    await add_ready_versions(redis, "1")
    await announce(redis, "gw-1", 1)
    (problem,) = (await api.get("/status")).json()["problems"]
    assert problem.startswith("7 requests were refused in the last two minutes, since version 1 of digits")
    assert "`turnout pools scale digits 1 WORKERS`" in problem


async def test_the_api_describes_itself(api: httpx2.AsyncClient) -> None:
    described = (await api.get("/openapi.json")).json()
    assert "/api/v1/routes/{model}/edit" in described["paths"]
    assert "SetSplit" in described["components"]["schemas"]
