"""Erasing a unit's data over the control API: with a reason, and told without naming the unit."""

from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.record import UNIT_SUFFIX, unit_mark
from gateway.store.predictions import Predictions
from tests.control.world import add_ready_versions, document
from tests.store.samples import batch, entry, new_id, record

UNIT = "ana@example.org"


async def keep(redis: Redis, unit: str, count: int) -> list[str]:
    """Records as a gateway writes them where the route says `record.units`."""
    ids = [new_id() for _ in range(count)]
    made = []
    for one in ids:
        bucket, field, raw = entry(one, record("1", "c", 7))
        made += [(bucket, field, raw), (bucket, field + UNIT_SUFFIX, unit_mark("digits", unit.encode()))]
    await Predictions(redis).write("digits", f"r-{unit}", batch(*made))
    return ids


async def erase(api: httpx2.AsyncClient, **wish: Any) -> Any:
    reply = await api.post("/models/digits/erasure", json=wish)
    return {"status": reply.status_code, **reply.json()}


async def test_an_erasure_is_in_the_audit_and_the_unit_is_nowhere(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_ready_versions(redis, "1")
    ids = await keep(redis, UNIT, 3)
    other = await keep(redis, "ben", 1)
    done = await erase(api, unit=UNIT, reason="request 4711 by letter")
    assert (done["status"], done["predictions"], done["keeps_units"]) == (200, 3, False)
    for one in ids:
        assert (await Predictions(redis).find("digits", one)).records == []
    assert len((await Predictions(redis).find("digits", other[0])).records) == 1
    entries = (await api.get("/audit", params={"model": "digits"})).json()["entries"]
    told = [item for item in entries if item["reason"].startswith("erasure")]
    assert [item["reason"] for item in told] == [
        f"erasure {done['seal']} is done: request 4711 by letter",
        f"erasure {done['seal']} begins: request 4711 by letter",
    ]
    assert {item["author"] for item in told} == {"ana@desk"}
    held = b"".join([await redis.dump(key) or b"" for key in await redis.keys("*")])
    assert b"example.org" not in held
    assert (await erase(api, unit=UNIT, reason="once more"))["seal"] == done["seal"]
    assert (await erase(api, unit="ben", reason="once more"))["seal"] != done["seal"]


async def test_a_dry_run_counts_what_the_erasure_then_erases(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_ready_versions(redis, "1")
    ids = await keep(redis, UNIT, 3)
    await keep(redis, "ben", 1)
    before = await redis.dump(keys.AUDIT)
    tried = await erase(api, unit=UNIT, predictions=ids[:1], reason="by letter", dry_run=True)
    assert (tried["status"], tried["dry_run"], tried["predictions"]) == (200, True, 3)
    assert len((await Predictions(redis).find("digits", ids[0])).records) == 1
    assert await redis.dump(keys.AUDIT) == before
    done = await erase(api, unit=UNIT, predictions=ids[:1], reason="by letter")
    counts = ("predictions", "samples", "disagreements", "corrections")
    assert [done[name] for name in counts] == [tried[name] for name in counts]


async def test_a_reason_is_asked_for_and_must_not_name_the_unit(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    assert (await erase(api, unit=UNIT))["status"] == 422
    refused = await erase(api, unit=UNIT, reason=f"request of {UNIT.upper()}")
    assert refused["status"] == 422
    assert "must not name the unit" in str(refused)
    assert UNIT.upper() not in str(refused)
    assert (await erase(api, reason="nothing"))["status"] == 422
    assert await redis.exists(keys.AUDIT) == 0


async def test_the_route_says_whether_units_can_be_found(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_ready_versions(redis, "1")
    route = document(sticky={"header": "turnout-unit"}, record={"units": True})
    assert (await api.post("/apply", json={"documents": [route]})).status_code == 200
    shown = (await api.get("/routes/digits/history")).json()["history"][0]["changes"]
    assert any("record.units" in change for change in shown), shown
    assert (await erase(api, unit=UNIT, reason="by letter"))["keeps_units"] is True


@pytest.mark.parametrize("ids", [["a b"], [""], ["x" * 65]])
async def test_ids_that_are_none_are_refused(api: httpx2.AsyncClient, ids: list[str]) -> None:
    assert (await erase(api, predictions=ids, reason="by letter"))["status"] == 422
