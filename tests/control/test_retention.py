"""A policy's retention is kept: by routes for records, and by `rm` for versions and their artefacts."""

from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.store.documents import Change, Documents
from tests.control.test_governance import apply, post, put_policy
from tests.control.world import add_ready_versions, document


@pytest.fixture(autouse=True)
async def versions(redis: Redis) -> None:
    await add_ready_versions(redis, "1", "2")


async def remove(api: httpx2.AsyncClient, version: str, **how: str) -> Any:
    reply = await api.request(
        "DELETE",
        f"/models/digits/versions/{version}",
        params=how,
        headers={"content-type": "application/json"},
    )
    return {"status": reply.status_code, **reply.json()}


async def end(api: httpx2.AsyncClient, version: str) -> None:
    told = await post(api, f"/models/digits/versions/{version}/state", state="rejected")
    assert told["status"] == 200, told


async def test_a_route_is_refused_that_keeps_records_too_short_or_too_long(api: httpx2.AsyncClient) -> None:
    written = await put_policy(api, retention={"records_days": 7, "records_min_days": 2})
    assert written["warnings"] == []
    for days in (1, 8):
        refused = await apply(api, document(record={"ttl_s": days * 86_400}))
        assert (refused["status"], refused["rules"]) == (403, ["strict.retention"])
    assert (await apply(api, document(record={"ttl_s": 3 * 86_400})))["status"] == 200


async def test_a_policy_names_the_routes_that_break_it_already(api: httpx2.AsyncClient) -> None:
    await apply(api, document(record={"ttl_s": 30 * 86_400}))
    written = await put_policy(api, retention={"records_days": 7})
    assert written["warnings"] == ["digits: record.ttl_s keeps predictions 30 days; 7 are allowed"]


async def test_a_version_stays_until_its_time_is_over(api: httpx2.AsyncClient, redis: Redis) -> None:
    await put_policy(api, retention={"artefacts_days": 30})
    refused = await remove(api, "2")
    assert (refused["status"], refused["rules"]) == (403, ["strict.retention"])
    await end(api, "2")
    refused = await remove(api, "2")
    assert (refused["status"], refused["rules"]) == (403, ["strict.retention"])
    assert (await api.get("/models/digits/versions/2")).status_code == 200
    field = keys.standing_field("digits", "2")
    envelope = await Documents(redis).get(field)
    assert envelope is not None
    assert envelope.doc is not None
    assert envelope.doc["ended_at"]
    past = {**envelope.doc, "ended_at": "2026-01-01T00:00:00Z"}
    await Documents(redis).commit([Change(field, past, None)], author="test", reason="", op_id="past")
    assert (await remove(api, "2"))["status"] == 200


async def test_who_decides_again_does_not_begin_the_time_again(api: httpx2.AsyncClient) -> None:
    await end(api, "2")
    before = (await api.get("/models/digits/standings")).json()["versions"][1]["ended_at"]
    await end(api, "2")
    assert (await api.get("/models/digits/standings")).json()["versions"][1]["ended_at"] == before
    told = await post(api, "/models/digits/versions/2/state", state="registered")
    assert told["ended_at"] is None


async def test_who_may_override_gives_a_reason_and_is_in_the_audit(api: httpx2.AsyncClient) -> None:
    await put_policy(api, retention={"artefacts_days": 30})
    refused = await remove(api, "2", force="true")
    assert refused["status"] == 403
    assert "--reason" in refused["error"]
    forced = await remove(api, "2", force="true", reason="leaks names of customers")
    assert forced["status"] == 200
    assert forced["warnings"][0].startswith("overridden: ")
    entries = (await api.get("/audit")).json()["entries"]
    assert "strict.retention" in entries[0]["forced"]


async def test_nobody_overrides_where_the_policy_names_nobody(api: httpx2.AsyncClient) -> None:
    await put_policy(api, retention={"artefacts_days": 30}, override=None)
    assert (await remove(api, "2", force="true", reason="must go"))["status"] == 403
