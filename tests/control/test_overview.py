"""All models at one look."""

import asyncio
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.control import overview
from gateway.store.predictions import Batch, Predictions
from tests.control.world import add_ready_versions, split


async def write(redis: Redis, number: int, counts: dict[str, int | float], *, model: str = "digits") -> None:
    now_s, _ = await redis.time()
    await Predictions(redis).write(model, "gw-1", Batch(number, [], {now_s // 60: counts}))


async def looked(api: httpx2.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get("/overview")).json()
    return found


async def test_a_look_has_traffic_errors_latency_quality_split_and_workers(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_ready_versions(redis, "1", "2")
    edit = {"kind": "split", "split": split(("1", 90), ("2", 10))}
    assert (await api.post("/routes/digits/edit", json={"edit": edit})).status_code == 200
    await api.put("/models/digits/versions/1/workers", json={"workers": 2})
    counts: dict[str, int | float] = {
        "p|1|n": 90, "p|1|ok": 88, "p|1|e:no_workers": 2, "p|1|e:client_gone": 1,
        "p|1|us": 9000, "p|1|h13": 88, "p|1|recorded": 88,
        "p|1|rows": 40, "p|1|right": 30, "p|1|l": 40, "s|2|n": 90, "s|2|ok": 90, "s|2|h17": 90,
    }  # fmt: skip
    await write(redis, 1, counts)
    (model,) = (await looked(api))["models"]
    assert (model["model"], model["requests"], model["failed"]) == ("digits", 90, 2)
    assert model["error_share"] == pytest.approx(2 / 90)
    assert [(entry["version"], entry["weight"]) for entry in model["split"]] == [("1", 90), ("2", 10)]
    assert (model["workers_ready"], model["workers_wanted"]) == (2, 2)
    assert 0 < model["latency"]["p50_us"] <= model["latency"]["p99_us"]
    rows = {(row["role"], row["version"]): row for row in model["versions"]}
    assert rows["primary", "1"]["quality"]["metric"] == "accuracy"
    assert rows["primary", "1"]["quality"]["value"] == 0.75
    assert rows["primary", "1"]["errors"] == {"no_workers": 2, "client_gone": 1}  # the second is no failure
    assert rows["shadow", "2"]["requests"] == 90
    assert rows["primary", "2"]["per_s"] == 0  # it has a weight, and no traffic yet
    status = (await api.get("/status")).json()
    assert status["traffic"]["failing"][0] == {
        "model": "digits", "version": "1", "requests": 90, "failed": 2, "errors": {"no_workers": 2},
    }  # fmt: skip
    assert status["last_change"]["changes"][0]["field"] == "wanted/digits/1"


async def test_many_viewers_cost_one_look(
    api: httpx2.AsyncClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "FRESH_S", 60.0)
    await add_ready_versions(redis, "1")
    await looked(api)
    before = await redis.info("commandstats")
    seen = await asyncio.gather(*(looked(api) for _ in range(20)))
    after = await redis.info("commandstats")
    assert all(one == seen[0] for one in seen)
    assert after["cmdstat_hgetall"]["calls"] == before["cmdstat_hgetall"]["calls"]


async def test_a_route_that_cannot_be_read_is_said(api: httpx2.AsyncClient, redis: Redis) -> None:
    from gateway.contract import keys

    await redis.hset(keys.DOCUMENTS, "route/odd", "nonsense")
    (model,) = (await looked(api))["models"]
    assert (model["model"], model["has_route"], model["is_readable"]) == ("odd", True, False)
