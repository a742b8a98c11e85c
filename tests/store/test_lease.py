"""One leads at a time, and whoever led before cannot write any more."""

import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.errors import FencedError
from gateway.contract.rollout import Progress
from gateway.store.documents import Change, Documents
from gateway.store.embedded import EmbeddedServer
from gateway.store.lease import Leadership, Leases

LASTS_S = 5.0


@pytest.fixture
def redis_server(shared_server: EmbeddedServer) -> EmbeddedServer:
    return shared_server


async def _expire(redis: Redis) -> None:
    await redis.hset(keys.LEASE, "until_ms", "1")


async def test_only_one_of_two_leads_and_keeps_its_number(redis: Redis) -> None:
    leases = Leases(redis)
    assert await leases.take("a", lasts_s=LASTS_S) == Leadership(True, 1, "a")
    assert await leases.take("b", lasts_s=LASTS_S) == Leadership(False, 1, "a")
    assert await leases.take("a", lasts_s=LASTS_S) == Leadership(True, 1, "a")


async def test_every_new_holder_gets_a_larger_number(redis: Redis) -> None:
    leases = Leases(redis)
    await leases.take("a", lasts_s=LASTS_S)
    await _expire(redis)
    assert (await leases.take("b", lasts_s=LASTS_S)).fence == 2
    await leases.give_up("a")  # it has nothing to give up
    assert not (await leases.take("a", lasts_s=LASTS_S)).is_mine
    await leases.give_up("b")
    assert (await leases.take("a", lasts_s=LASTS_S)).fence == 3


async def test_a_holder_that_let_its_own_lease_run_out_gets_a_new_number_too(redis: Redis) -> None:
    leases = Leases(redis)
    await leases.take("a", lasts_s=LASTS_S)
    await _expire(redis)
    assert (await leases.take("a", lasts_s=LASTS_S)).fence == 2


async def test_a_clock_set_back_by_a_day_does_not_leave_everybody_without_a_leader(redis: Redis) -> None:
    leases = Leases(redis)
    await leases.take("a", lasts_s=LASTS_S)
    until_ms = int(await redis.hget(keys.LEASE, "until_ms") or 0)
    await redis.hset(keys.LEASE, "until_ms", str(until_ms + 86_400_000))
    assert await leases.take("b", lasts_s=LASTS_S) == Leadership(True, 2, "b")


async def test_what_an_old_leader_commits_is_refused_and_changes_nothing(redis: Redis) -> None:
    leases, documents = Leases(redis), Documents(redis)
    await leases.take("a", lasts_s=LASTS_S)
    await documents.commit([Change("route/m", {"n": 1}, 0)], author="a", reason="", op_id="1", fence=1)
    await _expire(redis)
    await leases.take("b", lasts_s=LASTS_S)
    before = {key: await redis.dump(key) for key in await redis.keys()}
    with pytest.raises(FencedError, match=r"b leads the rollouts now \(fence 2\)"):
        await documents.commit([Change("route/m", {"n": 2}, 1)], author="a", reason="", op_id="2", fence=1)
    with pytest.raises(FencedError):
        await leases.note("m", Progress(rollout_id="r", step=0), fence=1)
    assert {key: await redis.dump(key) for key in await redis.keys()} == before
    await documents.commit([Change("route/m", {"n": 3}, 1)], author="b", reason="", op_id="3", fence=2)


async def test_a_repeated_attempt_is_answered_even_if_somebody_else_leads_meanwhile(redis: Redis) -> None:
    leases, documents = Leases(redis), Documents(redis)
    await leases.take("a", lasts_s=LASTS_S)
    change = [Change("route/m", {"n": 1}, 0)]
    first = await documents.commit(change, author="a", reason="", op_id="1", fence=1)
    await _expire(redis)
    await leases.take("b", lasts_s=LASTS_S)
    again = await documents.commit(change, author="a", reason="", op_id="1", fence=1)
    assert again.revision == first.revision


async def test_progress_is_read_as_it_was_noted(redis: Redis) -> None:
    leases = Leases(redis)
    await leases.take("a", lasts_s=LASTS_S)
    assert await leases.progress("m") is None
    noted = Progress(rollout_id="r", step=2, counted_s=1.5, waits_for="labels")
    await leases.note("m", noted, fence=1)
    assert await leases.progress("m") == noted
    await redis.set(keys.progress("m"), "{}")
    assert await leases.progress("m") is None


async def test_commits_after_a_revision_come_in_their_order(redis: Redis) -> None:
    documents = Documents(redis)
    for number in range(4):
        await documents.commit(
            [Change("route/m", {"n": number}, None)], author="a", reason="", op_id=f"{number}"
        )
    assert [entry["revision"] for entry in await documents.audit_since(2, limit=10)] == [3, 4]
    assert [entry["revision"] for entry in await documents.audit_since(0, limit=3)] == [2, 3, 4]
    assert await documents.audit_since(4, limit=10) == []
