"""Pools follow leases; workers that fail in a row are taken out, probed, and let back in."""

from collections.abc import AsyncIterator

import pytest

from gateway.contract.pool import WorkerState
from gateway.core import health
from gateway.upstream.outcome import Failure
from gateway.upstream.pool import Pool, PoolSet
from tests.scripted import ScriptedWorker
from tests.sockets import eventually


@pytest.fixture
async def workers() -> AsyncIterator[list[ScriptedWorker]]:
    started = [await ScriptedWorker(name=f"w{number}").start() for number in range(4)]
    yield started
    for worker in started:
        await worker.stop()


def fail(pool: Pool, worker_id: str, times: int = health.FAILURES_TO_EJECT) -> None:
    for _ in range(times):
        pool.workers[worker_id].failed()


def names(pool: Pool) -> set[str]:
    return {worker.worker_id for worker in pool.ready}


async def test_only_ready_leases_are_chosen_from(workers: list[ScriptedWorker]) -> None:
    pool = Pool("digits", "1")
    states = [WorkerState.READY, WorkerState.STARTING, WorkerState.DRAINING, WorkerState.READY]
    pool.update(worker.lease(state=state) for worker, state in zip(workers, states, strict=True))
    assert names(pool) == {"w0", "w3"}
    pool.update([workers[0].lease()])
    assert names(pool) == {"w0"}
    pool.update([])
    assert pool.pick() is None


async def test_a_worker_that_came_back_under_its_old_id_is_another_one(workers: list[ScriptedWorker]) -> None:
    pool = Pool("digits", "1")
    lease = workers[0].lease()
    pool.update([lease])
    before = pool.pick()
    pool.update([lease.model_copy(update={"port": workers[1].port, "started_ms": 2})])
    after = pool.pick()
    assert before is not after
    assert after is not None
    assert after.port == workers[1].port
    pool.update([])


async def test_failures_in_a_row_eject_and_a_success_between_them_does_not(
    workers: list[ScriptedWorker],
) -> None:
    pool = Pool("digits", "1")
    pool.update(worker.lease() for worker in workers)
    for _ in range(5):
        fail(pool, "w0", times=health.FAILURES_TO_EJECT - 1)
        pool.workers["w0"].succeeded()
    assert names(pool) == {"w0", "w1", "w2", "w3"}
    workers[0].is_ready = False
    fail(pool, "w0")
    assert names(pool) == {"w1", "w2", "w3"}
    assert pool.ejections == 1
    pool.update([])


async def test_when_fewer_than_half_are_trusted_all_are_used_and_it_is_said(
    workers: list[ScriptedWorker], caplog: pytest.LogCaptureFixture
) -> None:
    for worker in workers:
        worker.is_ready = False
    pool = Pool("digits", "1")
    pool.update(worker.lease() for worker in workers)
    fail(pool, "w0")
    fail(pool, "w1")
    assert names(pool) == {"w2", "w3"}
    assert not pool.is_panic
    fail(pool, "w2")
    assert names(pool) == {"w0", "w1", "w2", "w3"}
    assert pool.is_panic
    assert "fewer than half" in caplog.text
    assert {worker.worker_id for worker in [pool.pick_other((pool.workers["w0"],))] if worker} == {"w3"}
    pool.update([])


async def test_workers_where_nothing_listens_do_not_count_as_capacity(workers: list[ScriptedWorker]) -> None:
    for worker in workers:
        worker.is_ready = False
    pool = Pool("digits", "1")
    pool.update(worker.lease() for worker in workers)
    for number in (0, 1, 2):
        for _ in range(health.FAILURES_TO_EJECT):
            pool.workers[f"w{number}"].failed(Failure.REFUSED)
    assert names(pool) == {"w3"}
    assert not pool.is_panic
    pool.update([])


async def test_the_only_worker_is_never_ejected(workers: list[ScriptedWorker]) -> None:
    alone = Pool("digits", "1")
    alone.update([workers[0].lease()])
    fail(alone, "w0", times=10)
    assert names(alone) == {"w0"}
    alone.update([])


async def test_an_ejected_worker_comes_back_when_its_probe_succeeds(workers: list[ScriptedWorker]) -> None:
    workers[0].is_ready = False
    pool = Pool("digits", "1")
    pool.update(worker.lease() for worker in workers[:2])
    fail(pool, "w0")
    assert names(pool) == {"w1"}
    workers[0].is_ready = True
    await eventually(lambda: names(pool) == {"w0", "w1"})
    workers[0].is_ready = False
    fail(pool, "w0", times=1)  # half open: one failure is enough
    assert names(pool) == {"w1"}
    assert pool.workers["w0"].failed_probes == 0
    pool.update([])


async def test_a_retry_goes_to_a_worker_that_was_not_tried(workers: list[ScriptedWorker]) -> None:
    pool = Pool("digits", "1")
    pool.update(worker.lease() for worker in workers[:2])
    first = pool.ready[0]
    assert {pool.pick_other((first,)) for _ in range(10)} == {pool.ready[1]}
    assert pool.pick_other(tuple(pool.ready)) is None


async def test_pools_of_versions_are_separate(workers: list[ScriptedWorker]) -> None:
    workers[1].version = "2"
    pools = PoolSet()
    pools.update(worker.lease() for worker in workers[:2])
    assert names(pools.get("digits", "1")) == {"w0"}
    assert names(pools.get("digits", "2")) == {"w1"}
    pools.update([])
    assert not pools.get("digits", "1").ready
    assert not pools.staffed
    await pools.close()


async def test_a_slow_worker_that_nobody_asks_is_trusted_again_after_a_while(
    workers: list[ScriptedWorker],
) -> None:
    pool = Pool("digits", "1")
    pool.update(worker.lease() for worker in workers[:2])
    fast, slow = pool.ready
    for worker, latency_us in ((fast, 300.0), (slow, 3000.0)):
        worker.answers, worker.answers_us = 1, latency_us
    pool.look(0.0)
    assert slow.weight < 0.01 * fast.weight
    for window in range(400):  # of a quarter of a second
        fast.answers, fast.answers_us = 1, 300.0
        pool.look(window / 4)
    assert slow.weight == fast.weight
    pool.update([])
