"""What is wanted, read from a real Redis, and kept when Redis is of no help."""

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.contract import keys
from gateway.contract.pool import Keep, Wanted
from gateway.store.documents import Change, Documents
from tests.workers.processes import register, want
from workers.wishes import Wishes

UNREADABLE: list[Any] = [
    None, {}, {"workers": -1}, {"workers": 65}, {"workers": "two"}, {"more": 2}, [], 7,
]  # fmt: skip
NONSENSE = ["nonsense", *(orjson.dumps({"doc": doc, "revision": 9}) for doc in UNREADABLE)]


async def commit(redis: Any, field: str, doc: dict[str, Any] | None) -> None:
    await Documents(redis).commit(
        [Change(field, doc, None)], author="test", reason="test", op_id=os.urandom(8).hex()
    )


async def test_wanted_counts_follow_the_documents(redis: Any, tmp_path: Path) -> None:
    wishes = Wishes(redis, keep_warm_s=300.0)
    assert wishes.current is None
    await wishes.poll()
    assert wishes.current == {}
    await register(redis, tmp_path, b"x", wanted=2)
    await wishes.poll()
    assert wishes.current == {("m", "1"): 2}
    await want(redis, "1", 0)
    await wishes.poll()
    assert wishes.current == {("m", "1"): 0}


async def test_an_emptied_redis_stops_nobody(
    redis: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wishes = Wishes(redis, keep_warm_s=300.0)
    await register(redis, tmp_path, b"x", wanted=2)
    await wishes.poll()
    await redis.flushall()
    for _ in range(3):
        await wishes.poll()
    assert wishes.current == {("m", "1"): 2}
    assert caplog.text.count("its table was lost") == 1


async def test_a_redis_that_is_away_stops_nobody(
    redis: Any, redis_server: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wishes = Wishes(redis, keep_warm_s=300.0)
    await register(redis, tmp_path, b"x", wanted=2)
    await wishes.poll()
    redis_server.stop()
    for _ in range(3):
        await wishes.poll()
    assert wishes.current == {("m", "1"): 2}
    assert caplog.text.count("Redis is away") == 1


async def test_nonsense_in_redis_stops_nobody(
    redis: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wishes = Wishes(redis, keep_warm_s=300.0)
    await register(redis, tmp_path, b"x", wanted=2)
    await wishes.poll()
    for nonsense in NONSENSE:
        await redis.hset(keys.DOCUMENTS, keys.wanted_field("m", "1"), nonsense)
        await redis.zadd(keys.CHANGED, {keys.wanted_field("m", "1"): await redis.incr(keys.REVISION)})
        await wishes.poll()
        assert wishes.current == {("m", "1"): 2}
    await wishes.poll()
    assert wishes.current == {("m", "1"): 2}
    assert "not readable" in caplog.text
    await redis.set(keys.REVISION, "many")
    await wishes.poll()
    assert wishes.current == {("m", "1"): 2}
    assert "holds no number" in caplog.text


async def test_a_version_that_is_not_registered_gets_no_workers(redis: Any) -> None:
    wishes = Wishes(redis, keep_warm_s=300.0)
    await want(redis, "1", 1)
    await wishes.poll()
    assert wishes.current == {}


def route(*versions: str) -> dict[str, Any]:
    share = 100 / len(versions)
    return {"model": "m", "split": [{"version": name, "weight": share} for name in versions]}


async def by_need(redis: Any, tmp_path: Path, *versions: str) -> None:
    for version in versions:
        await register(redis, tmp_path, version.encode(), version=version)
        wish = Wanted(workers=1, keep=Keep.NEEDED).model_dump(mode="json")
        await commit(redis, keys.wanted_field("m", version), wish)


async def test_workers_follow_the_route_and_what_it_named_stays_warm(redis: Any, tmp_path: Path) -> None:
    wishes, hasty = Wishes(redis, keep_warm_s=300.0), Wishes(redis, keep_warm_s=0.0)
    await by_need(redis, tmp_path, "1", "2", "3")
    await wishes.poll()
    assert wishes.current == {}
    for versions in (("1", "2"), ("2", "3")):
        await commit(redis, keys.route_field("m"), route(*versions))
        await wishes.poll()
    await hasty.poll()
    assert wishes.current == {("m", "2"): 1, ("m", "3"): 1, ("m", "1"): 1}
    assert list(wishes.current)[-1] == ("m", "1")  # who is only warm comes last where there is little room
    assert hasty.current == {("m", "2"): 1, ("m", "3"): 1}
    # One that was restarted finds the same: warmth is in the history, not in a memory.
    again = Wishes(redis, keep_warm_s=300.0)
    await again.poll()
    assert again.current == wishes.current
    await commit(redis, keys.route_field("m"), None)
    for reader in (wishes, hasty):
        await reader.poll()
    assert set(wishes.current) == {("m", "1"), ("m", "2"), ("m", "3")}
    assert hasty.current == {}


async def test_a_route_edited_into_nonsense_stops_nobody(redis: Any, tmp_path: Path) -> None:
    wishes = Wishes(redis, keep_warm_s=0.0)
    await by_need(redis, tmp_path, "1")
    await commit(redis, keys.route_field("m"), route("1"))
    await wishes.poll()
    await redis.hset(keys.DOCUMENTS, keys.route_field("m"), "nonsense")
    await redis.zadd(keys.CHANGED, {keys.route_field("m"): await redis.incr(keys.REVISION)})
    for reader in (wishes, Wishes(redis, keep_warm_s=0.0)):
        await reader.poll()
        assert reader.current == {("m", "1"): 1}
