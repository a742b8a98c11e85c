"""A real supervisor with real workers."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import orjson
import pytest

from gateway.contract import keys
from gateway.contract.pool import Lease, WorkerState
from gateway.store.embedded import EmbeddedServer
from gateway.store.fleet import FleetStore
from tests.sockets import PATIENCE_S, eventually
from tests.workers import models
from tests.workers.processes import Running, register, start, want


class Pool(Protocol):
    async def __call__(self, count: int, without: str = "") -> list[Lease]: ...


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def supervisor(tmp_path: Path, redis_url: str) -> Iterator[Running]:
    running = start(
        tmp_path / "supervisor.log",
        *("supervisor", "--redis-url", redis_url, "--artifacts", str(tmp_path / "artifacts")),
    )
    yield running
    running.cleanup()


@pytest.fixture
def pool(redis: Any, supervisor: Running) -> Pool:
    """Waits until exactly so many workers are ready, none of them `without`, and gives their leases."""

    async def wait(count: int, without: str = "") -> list[Lease]:
        until = time.monotonic() + PATIENCE_S
        while True:
            leases = (await FleetStore(redis).workers()).leases
            are_ready = all(
                lease.state is WorkerState.READY and lease.worker_id != without for lease in leases
            )
            if len(leases) == count and are_ready:
                return leases
            assert time.monotonic() < until, f"{leases}\n{supervisor.said()}"
            await asyncio.sleep(0.02)

    return wait


async def test_wanted_counts_are_kept_up_and_down_and_all_end_with_the_supervisor(
    redis: Any, tmp_path: Path, supervisor: Running, pool: Pool
) -> None:
    await register(redis, tmp_path / "artifacts", models.linear(), wanted=1)
    (first,) = await pool(1)
    await want(redis, "1", 2)
    second = next(lease for lease in await pool(2) if lease.worker_id != first.worker_id)
    await want(redis, "1", 1)
    assert (await pool(1))[0].worker_id == first.worker_id  # the youngest was stopped
    await eventually(lambda: not is_alive(second.pid))
    assert await asyncio.to_thread(supervisor.end) == 0
    assert not is_alive(first.pid)
    assert await redis.hgetall(keys.WORKERS) == {}


async def test_a_killed_worker_is_replaced_and_its_lease_is_taken_away(
    redis: Any, tmp_path: Path, supervisor: Running, pool: Pool
) -> None:
    await register(redis, tmp_path / "artifacts", models.linear(), wanted=1)
    (first,) = await pool(1)
    os.kill(first.pid, signal.SIGKILL)
    await eventually(lambda: not is_alive(first.pid))
    await eventually(lambda: "SIGKILL); the next starts in 0.2 s" in supervisor.said())
    (second,) = await pool(1, without=first.worker_id)  # the dead one's lease goes once its end is noticed
    os.kill(second.pid, signal.SIGKILL)
    await eventually(lambda: "the next starts in 0.4 s" in supervisor.said())


async def test_workers_that_somebody_ends_in_good_order_are_replaced_however_often(
    redis: Any, tmp_path: Path, supervisor: Running, pool: Pool
) -> None:
    await register(redis, tmp_path / "artifacts", models.linear(), wanted=1)
    (worker,) = await pool(1)
    for _ in range(6):  # one more than make a crash loop
        os.kill(worker.pid, signal.SIGTERM)
        (worker,) = await pool(1, without=worker.worker_id)
    assert "quick failures" not in supervisor.said()


async def test_a_worker_that_cannot_start_is_tried_again_with_growing_pauses(
    redis: Any, tmp_path: Path, supervisor: Running
) -> None:
    digest = await register(redis, tmp_path / "artifacts", models.linear(), wanted=1)
    file = tmp_path / "artifacts" / "sha256" / digest[:2] / digest
    file.write_bytes(b"changed")
    await eventually(lambda: "the next starts in 0.4 s" in supervisor.said())
    said = supervisor.said()
    assert "is not the registered file" in said
    assert "exit code 1" in said
    assert "Traceback" not in said


async def test_workers_outlive_redis_and_crashed_ones_come_back_without_it(
    redis: Any, redis_server: EmbeddedServer, tmp_path: Path, supervisor: Running, pool: Pool
) -> None:
    await register(redis, tmp_path / "artifacts", models.linear(), wanted=1)
    (first,) = await pool(1)
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        await eventually(lambda: "Redis is away" in supervisor.said())
        assert is_alive(first.pid)
        os.kill(first.pid, signal.SIGKILL)
        await eventually(lambda: supervisor.said().count("was started") == 2)
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    await pool(1)


async def test_a_killed_supervisor_leaves_nobody_behind(
    redis: Any, tmp_path: Path, supervisor: Running, pool: Pool
) -> None:
    await register(redis, tmp_path / "artifacts", models.linear(), wanted=1)
    (worker,) = await pool(1)
    supervisor.end(signal.SIGKILL)
    await eventually(lambda: not is_alive(worker.pid))
    assert await redis.hgetall(keys.WORKERS) == {}  # it drained and withdrew


async def test_a_supervisor_takes_the_place_of_its_killed_predecessor_and_of_nobody_else(
    redis: Any, redis_url: str, tmp_path: Path, supervisor: Running
) -> None:
    """Their entries are looked at, since a process that is slow to start would let the old one run out."""
    common = ("supervisor", "--redis-url", redis_url, "--artifacts")
    other = start(tmp_path / "other.log", *common, str(tmp_path / "elsewhere"))
    await until_there(redis, supervisor, other)
    supervisor.end(signal.SIGKILL)
    successor = start(tmp_path / "next.log", *common, str(tmp_path / "artifacts"))
    try:
        await until_there(redis, other, successor)
    finally:
        other.cleanup()
        successor.cleanup()


async def until_there(redis: Any, *supervisors: Running) -> None:
    """Until exactly these have an entry."""
    wanted = sorted(supervisor.process.pid for supervisor in supervisors)
    until = time.monotonic() + 20
    while True:
        entries = (await redis.hgetall(keys.SUPERVISORS)).values()
        found = sorted(orjson.loads(entry.partition(b" ")[2])["pid"] for entry in entries)
        if found == wanted:
            return
        assert time.monotonic() < until, (found, wanted)
        await asyncio.sleep(0.02)
