"""Who is alive, by Redis' clock alone."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.pool import STAMPED_HSET, Lease, Presence, WorkerState
from gateway.store.connection import ask
from gateway.store.embedded import EmbeddedServer
from gateway.store.fleet import FleetStore
from tests.sockets import PATIENCE_S


@pytest.fixture
def redis_server(shared_server: EmbeddedServer) -> EmbeddedServer:
    return shared_server


def _lease(worker_id: str) -> Lease:
    return Lease(
        worker_id=worker_id, model="digits", version="1", digest="d", host="127.0.0.1", port=1, pid=1,
        state=WorkerState.READY, started_ms=1,
    )  # fmt: skip


def _presence(gateway_id: str) -> Presence:
    return Presence(gateway_id=gateway_id, pid=1, address="127.0.0.1:1", revision=7, started_ms=1)


async def _renew(redis: Redis, worker_id: str) -> None:
    """As workers do it."""
    lease = _lease(worker_id).model_dump_json()
    await ask(redis, "EVAL", STAMPED_HSET, 1, keys.WORKERS, worker_id, lease, keys.CHANGES, "workers")


async def _age(redis: Redis, key: str, entry: str, by_ms: int) -> None:
    seen_ms, _, rest = (await ask(redis, "HGET", key, entry)).partition(b" ")
    await ask(redis, "HSET", key, entry, b"%d %b" % (int(seen_ms) - by_ms, rest))


async def test_a_renewed_lease_lasts_and_an_old_one_has_ended(redis: Redis) -> None:
    for worker_id in ("w1", "w2"):
        await _renew(redis, worker_id)
    await _age(redis, keys.WORKERS, "w2", 5_100)
    fleet = await FleetStore(redis).workers()
    assert [lease.worker_id for lease in fleet.leases] == ["w1"]
    assert [lease.worker_id for lease in fleet.ended] == ["w2"]
    assert 0 <= fleet.now_ms - fleet.leases[0].seen_ms < 5_000


async def test_a_worker_can_be_forgotten_at_once(redis: Redis) -> None:
    await _renew(redis, "w1")
    async with redis.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(keys.CHANGES)
        await FleetStore(redis).forget_worker("w1")
        message = None
        async with asyncio.timeout(PATIENCE_S):
            while message is None:
                message = await channel.get_message(timeout=0.2)
    assert message is not None
    assert message["data"] == b"workers"
    assert (await FleetStore(redis).workers()).leases == []


async def test_gateways_that_announce_themselves_are_live(redis: Redis) -> None:
    fleet = FleetStore(redis)
    for gateway_id in ("g2", "g1", "g0"):
        assert await fleet.announce_gateway(_presence(gateway_id)) > 1_700_000_000_000
    await _age(redis, keys.GATEWAYS, "g0", 5_100)
    await fleet.forget_gateway("g2")
    [live] = await fleet.gateways()
    assert (live.gateway_id, live.revision) == ("g1", 7)


async def test_a_foreign_entry_hides_nobody(redis: Redis) -> None:
    await _renew(redis, "w1")
    for entry in (b"nonsense", b"12 [1]", b"x {}", b"", b"99999999999999 {\xff"):
        await ask(redis, "HSET", keys.WORKERS, b"foreign" + entry, entry)
    assert [lease.worker_id for lease in (await FleetStore(redis).workers()).leases] == ["w1"]


async def test_sweeping_drops_only_what_is_long_gone(redis: Redis) -> None:
    fleet = FleetStore(redis)
    for worker_id in ("new", "ended", "old"):
        await _renew(redis, worker_id)
    await fleet.announce_gateway(_presence("old-gateway"))
    await _age(redis, keys.WORKERS, "ended", 599_000)
    await _age(redis, keys.WORKERS, "old", 601_000)
    await _age(redis, keys.GATEWAYS, "old-gateway", 601_000)
    await ask(redis, "HSET", keys.WORKERS, "nonsense", "nonsense")
    assert await fleet.sweep() == 3
    assert {key.decode() for key in await ask(redis, "HKEYS", keys.WORKERS)} == {"new", "ended"}
    assert await fleet.sweep() == 0
