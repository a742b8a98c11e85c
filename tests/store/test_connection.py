"""A Redis that is away, hung, full, loading or foreign: one kind of error, soon, that says what to do."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from redis import exceptions
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.errors import CallerError, UpstreamError
from gateway.contract.pool import Presence
from gateway.store.connection import answers, ask, connect
from gateway.store.documents import Change, Documents
from gateway.store.embedded import EmbeddedServer
from gateway.store.fleet import FleetStore
from gateway.store.predictions import Predictions
from tests.sockets import PATIENCE_S
from tests.store.samples import batch, entry, new_id, record

_GATEWAY = Presence(gateway_id="g", pid=1, address="127.0.0.1:1", revision=0, started_ms=0)


def _calls(redis: Redis) -> list[Callable[[], Awaitable[object]]]:
    documents, predictions, fleet = Documents(redis), Predictions(redis), FleetStore(redis)
    change = [Change("route/a", {"a": 1}, None)]
    written = batch(entry(new_id(), record("1", "c", 1)))
    return [
        lambda: documents.commit(change, author="me", reason="", op_id="op-1"),
        lambda: documents.get("route/a"),
        lambda: documents.all("route/"),
        lambda: documents.follow(0),
        lambda: documents.history("route/a"),
        lambda: documents.audit(),
        lambda: fleet.workers(),
        lambda: fleet.gateways(),
        lambda: fleet.announce_gateway(_GATEWAY),
        lambda: fleet.forget_worker("w"),
        lambda: fleet.sweep(),
        lambda: predictions.write("digits", "r", written),
        lambda: predictions.feedback("digits", [("own", "1", None)], ttl_s=600),
        lambda: predictions.find("digits", "own"),
        lambda: predictions.evidence("digits", 1, 2000),
    ]


SOON_S = 20.0  # on the busiest machine; redis-py itself would wait close to a minute


async def _all_fail_soon(redis: Redis) -> set[str]:
    """Gives what they say."""
    async with asyncio.timeout(SOON_S):
        errors = await asyncio.gather(*(call() for call in _calls(redis)), return_exceptions=True)
    said = set()
    for error in errors:
        assert isinstance(error, UpstreamError)
        assert error.code == "store_away"
        said.add(error.message)
    return said


async def test_every_call_fails_at_once_when_the_server_is_gone_and_works_when_it_is_back(
    redis_server: EmbeddedServer, redis: Redis, server_program: Path
) -> None:
    for call in _calls(redis):
        await call()
    os.kill(redis_server.pid, signal.SIGKILL)
    redis_server.stop()
    assert all("start it, or correct" in said for said in await _all_fail_soon(redis))
    again = EmbeddedServer.start(redis_server.data_dir, program=server_program)
    try:
        for call in _calls(redis):
            await call()
    finally:
        again.stop()


@pytest.fixture
async def hasty(redis_url: str) -> AsyncIterator[Redis]:
    """With the usual limit."""
    client = connect(redis_url, name="hasty")
    yield client
    await client.aclose()


async def _until_answered(redis: Redis) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(UpstreamError):
                await ask(redis, "PING")
                return


async def test_every_call_fails_soon_when_the_server_hangs(
    redis_server: EmbeddedServer, redis: Redis, hasty: Redis
) -> None:
    await _until_answered(hasty)
    os.kill(redis_server.pid, signal.SIGSTOP)
    assert any("it hangs" in said for said in await _all_fail_soon(hasty))
    with pytest.raises(UpstreamError, match="no reply in time; it hangs"):
        await Documents(hasty).get("route/a")  # on a new connection
    os.kill(redis_server.pid, signal.SIGCONT)
    await _until_answered(hasty)
    for call in _calls(redis):
        await call()


async def test_a_write_during_a_hang_is_applied_at_most_once(
    redis_server: EmbeddedServer, redis: Redis, hasty: Redis
) -> None:
    await _until_answered(hasty)
    os.kill(redis_server.pid, signal.SIGSTOP)
    with pytest.raises(UpstreamError):
        await ask(hasty, "INCR", "counter")
    os.kill(redis_server.pid, signal.SIGCONT)
    await redis.ping()
    assert await redis.get("counter") in (None, b"1")


async def test_a_crowd_shares_a_small_pool(redis_url: str) -> None:
    client = connect(redis_url, name="crowd", pool_size=2, timeout_s=PATIENCE_S)
    await asyncio.gather(*(ask(client, "INCR", "counter") for _ in range(200)))
    assert await client.get("counter") == b"200"
    assert len([one for one in await client.client_list() if one["name"] == "crowd"]) == 2
    await client.aclose()


async def test_a_cancelled_call_gives_nobody_a_foreign_answer(redis_url: str) -> None:
    client = connect(redis_url, name="test", timeout_s=PATIENCE_S, pool_size=1)
    await client.set("key", "value")
    for _ in range(20):
        task = asyncio.create_task(ask(client, "GET", "key"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await ask(client, "ECHO", "mine") == b"mine"
    await client.aclose()


async def test_a_password_that_is_missing_or_wrong_is_named_and_never_shown(
    redis_server: EmbeddedServer, redis: Redis
) -> None:
    await redis.config_set("requirepass", "secret-word")
    path = redis_server.socket_path
    for url, says in ((f"unix://{path}", "wants a password"), (f"unix://:wrong-word@{path}", "refuses")):
        client = connect(url, name="test", timeout_s=PATIENCE_S)
        with pytest.raises(UpstreamError, match=says) as raised:
            await ask(client, "GET", "key")
        assert "-word" not in raised.value.message
        await client.aclose()
    client = connect(f"unix://:secret-word@{path}", name="test", timeout_s=PATIENCE_S)
    await ask(client, "GET", "key")
    await client.aclose()


async def test_a_missing_permission_is_named(redis_server: EmbeddedServer, redis: Redis) -> None:
    await ask(redis, "ACL", "SETUSER", "limited", "on", ">pw", "~*", "+get")
    for name in ("", "named"):  # naming a connection needs a permission, too
        client = connect(f"unix://limited:pw@{redis_server.socket_path}", name=name, timeout_s=PATIENCE_S)
        with pytest.raises(UpstreamError, match=r"lacks a permission.*(set|setname)"):
            await ask(client, "SET", "key", "value")
        await client.aclose()


async def test_a_replica_is_refused_with_advice(redis: Redis) -> None:
    await ask(redis, "REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(UpstreamError, match="read-only replica; give the address of the primary"):
        await Documents(redis).commit([Change("route/a", {}, None)], author="", reason="", op_id="1")


async def test_a_full_server_refuses_writes_whole_and_still_answers_reads(redis: Redis) -> None:
    documents, predictions = Documents(redis), Predictions(redis)
    await documents.commit([Change("route/a", {"a": 1}, 0)], author="", reason="", op_id="1")
    await predictions.feedback("digits", [("own", "1", None)], ttl_s=600)
    before = sorted(await redis.keys())
    await redis.config_set("maxmemory", 1)
    written = batch(entry(new_id(), record("1", "c", 1)), entry("own", record("1", "c", 1)))
    for write in (
        lambda: documents.commit([Change("route/b", {}, 0)], author="", reason="", op_id="2"),
        lambda: predictions.write("digits", "r", written),
        lambda: predictions.feedback("digits", [("other", "1", None)], ttl_s=600),
    ):
        with pytest.raises(UpstreamError, match="memory is full"):
            await write()
    assert (await documents.follow(0)).revision == 1
    assert await documents.get("route/b") is None
    assert sorted(await redis.keys()) == before
    await redis.config_set("maxmemory", 0)
    await predictions.write("digits", "r", written)
    assert (await predictions.find("digits", "own")).label == 1


_CONTROL = [keys.REVISION, keys.DOCUMENTS, keys.CHANGED, keys.AUDIT, keys.history("route/a")]


@pytest.mark.parametrize("key", _CONTROL)
async def test_a_key_of_another_type_stops_a_commit_before_it_writes(redis: Redis, key: str) -> None:
    await redis.sadd(key, "foreign")
    with pytest.raises(UpstreamError, match="somebody else wrote to it"):
        await Documents(redis).commit([Change("route/a", {}, None)], author="", reason="", op_id="1")
    assert await redis.keys() == [key.encode()]


async def test_a_key_of_another_type_stops_predictions_before_they_write(redis: Redis) -> None:
    predictions = Predictions(redis)
    known, fresh = new_id(), new_id()
    raw = record("1", "n", None, at_s=60)  # of which nothing is counted before its label
    await predictions.write("digits", "r0", batch(entry(known, raw)))
    written = batch(entry(fresh, raw), entry("own", raw))
    written.increments[1] = {"p|1|n": 1}
    for key in (
        keys.waiting("digits"),
        keys.corrections("digits"),
        keys.evidence("digits", 1),
        keys.evidence_of_hour("digits", 0),
        keys.flushed("digits", "r1"),
        keys.predictions("digits", "=own"),
    ):
        await redis.sadd(key, "foreign")
        before = sorted(await redis.keys())
        with pytest.raises(UpstreamError, match="somebody else wrote to it"):
            await predictions.write("digits", "r1", written)
        if key not in (keys.flushed("digits", "r1"),):
            with pytest.raises(UpstreamError, match="somebody else wrote to it"):
                await predictions.feedback("digits", [(known, "1", None), ("own", "1", None)], ttl_s=600)
        assert sorted(await redis.keys()) == before
        await redis.delete(key)
    await predictions.write("digits", "r1", written)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "still loading its data"),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), "read-only replica"),
        (exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left"), "cannot save"),
        (exceptions.ResponseError("BUSY Redis is busy running a script"), "script keeps it busy"),
        (exceptions.ResponseError("ERR user_script:7: OOM command not allowed"), "memory is full"),
        (exceptions.ResponseError("ERR something new"), "answered with an error (ERR something new)"),
        (exceptions.TimeoutError("Timeout reading from socket"), "hangs, is overloaded"),
        (TimeoutError(110, "Connection timed out"), "hangs, is overloaded"),
        (exceptions.ConnectionError("Error 111 connecting to localhost:1. Refused."), "start it, or correct"),
        (ConnectionResetError(104, "Connection reset by peer"), "start it, or correct"),
    ],
)
def test_what_goes_wrong_is_told_with_what_to_do(error: Exception, says: str) -> None:
    with pytest.raises(UpstreamError) as raised, answers():
        raise error
    assert says in raised.value.message
    assert raised.value.status == 503


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", ""])
def test_an_address_that_is_none_is_the_callers_fault(url: str) -> None:
    with pytest.raises(CallerError, match="not the address of a Redis server"):
        connect(url, name="test")
