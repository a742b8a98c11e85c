"""What is wanted, read from a real Redis, and kept when Redis is of no help."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.contract import keys
from tests.workers.processes import register, want
from workers.wishes import Wishes, read


async def test_wanted_counts_follow_the_documents(redis: Any, tmp_path: Path) -> None:
    wishes = Wishes(redis)
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
    wishes = Wishes(redis)
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
    wishes = Wishes(redis)
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
    wishes = Wishes(redis)
    await register(redis, tmp_path, b"x", wanted=2)
    await wishes.poll()
    await redis.hset(keys.DOCUMENTS, keys.wanted_field("m", "1"), "nonsense")
    await redis.incr(keys.REVISION)
    await wishes.poll()
    assert wishes.current == {("m", "1"): 2}
    assert "not readable" in caplog.text
    await redis.set(keys.REVISION, "many")
    await wishes.poll()
    assert wishes.current == {("m", "1"): 2}
    assert "holds no number" in caplog.text


@pytest.mark.parametrize(
    "doc", [None, {}, {"workers": -1}, {"workers": 65}, {"workers": "two"}, {"workers": 1, "more": 2}, [], 7]
)
def test_a_wish_that_cannot_be_read_keeps_what_it_was(doc: Any) -> None:
    fields = {b"wanted/m/1": orjson.dumps({"doc": doc}), b"version/m/1": b"{}"}
    assert read(fields, {}) == {}
    assert read(fields, {("m", "1"): 3}) == {("m", "1"): 3}


def test_a_version_that_is_not_registered_gets_no_workers() -> None:
    assert read({b"wanted/m/1": orjson.dumps({"doc": {"workers": 1}}), b"route/m": b"{}"}, {}) == {}
