"""Rollouts when processes die, sleep, are two, or lose Redis: always the same history, and one of it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.rollout import Phase
from gateway.control.settings import ControlSettings
from gateway.store.embedded import EmbeddedServer
from gateway.store.fleet import Fleet, FleetStore
from tests.control.rollouts.world import MODEL, World, a_world
from tests.control.world import PATIENT, add_worker, announce
from tests.faults.killed_controller import MIN_S
from tests.sockets import PATIENCE_S, free_port

SLOW = {"steps": [{"weight": 10, "hold": {"min_s": 3600}}, {"weight": 100}]}
DAY_MS = 86_400_000


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> ControlSettings:
    return ControlSettings(
        redis_url=redis_url,
        artifacts_dir=tmp_path / "artifacts",
        store_timeout_s=PATIENCE_S,
        rollout_tick_s=0.02,
    )


@pytest.fixture
async def world(settings: ControlSettings, redis: Redis) -> AsyncIterator[World]:
    async with a_world(settings, redis) as made:
        yield made


@pytest.mark.timeout(600)
def test_a_controller_killed_at_any_of_its_calls_leaves_the_same_history(redis_url: str) -> None:
    command = [sys.executable, "-m", "tests.faults.killed_controller", redis_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(runs) > 60, "a rollout takes more calls than that"
    for run in runs:
        assert run["phase"] == "succeeded"
        assert run["events"] == runs[-1]["events"]  # nobody was killed in the last one
        assert run["routes"] == runs[-1]["routes"]
        assert run["fence"] == (1 if run["call"] in (1, runs[-1]["call"]) else 2)
        assert all(dwell_ms >= MIN_S * 1000 for dwell_ms in run["dwells_ms"][:3])


@asynccontextmanager
async def beating_workers(world: World) -> AsyncIterator[None]:
    """Their leases do not end while this test waits for another one to end."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(0.5)
            for version in ("1", "2"):
                await add_worker(world.redis, version, model=MODEL)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def control_process(settings: ControlSettings) -> AsyncIterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable, "-m", "gateway.cli.main", "control", "--port", str(free_port()),
        "--redis-url", settings.redis_url, "--artifacts", str(settings.artifacts_dir),
    ]  # fmt: skip
    process = subprocess.Popen(  # noqa: ASYNC220 - it starts in a millisecond
        command,
        stderr=subprocess.DEVNULL,
        env=os.environ | PATIENT | {"TURNOUT_CONTROL__ROLLOUT_TICK_S": "0.05"},
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE_S)


async def _leader(redis: Redis) -> int:
    """Its process id; 0: nobody led yet."""
    holder: Any = await redis.hget(keys.LEASE, "holder")
    return 0 if holder is None else int(holder.decode().split("/")[1])


async def _until_led_by(redis: Redis, pids: set[int]) -> int:
    async with asyncio.timeout(PATIENCE_S):
        while (pid := await _leader(redis)) not in pids:
            await asyncio.sleep(0.02)
    return pid


@pytest.mark.timeout(300)
async def test_a_leader_that_slept_past_its_lease_writes_nothing_when_it_wakes(
    world: World, settings: ControlSettings
) -> None:
    async with beating_workers(world), control_process(settings) as one, control_process(settings) as two:
        first = await _until_led_by(world.redis, {one.pid, two.pid})
        await world.start(SLOW)
        await _counted(world, more_than_s=0.2)
        os.kill(first, signal.SIGSTOP)
        second = await _until_led_by(world.redis, {one.pid, two.pid} - {first})
        os.kill(first, signal.SIGCONT)
        await _counted(world, more_than_s=1.5)  # the woken one has had many ticks to write in
        assert await _leader(world.redis) == second
        await world.api.post(f"/models/{MODEL}/rollout/promote", json={})
        await _ended(world)
        rollout = await world.rollout()
        assert rollout.phase is Phase.SUCCEEDED
        assert [(event.what, event.step) for event in rollout.events] == [
            ("started", 0), ("promoted", 0), ("advanced", 0), ("entered", 1), ("advanced", 1),
            ("succeeded", 1),
        ]  # fmt: skip


async def _counted(world: World, *, more_than_s: float) -> float:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            progress = await world.parts.leases.progress(MODEL)
            if progress is not None and progress.counted_s > more_than_s:
                return progress.counted_s
            await asyncio.sleep(0.02)


async def _ended(world: World, *, within_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(within_s):
        while not (await world.rollout()).is_over:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("jump_ms", [DAY_MS, -DAY_MS])
async def test_a_clock_that_jumps_by_a_day_changes_no_duration(
    world: World, monkeypatch: pytest.MonkeyPatch, jump_ms: int
) -> None:
    await world.start(SLOW)
    controller = world.controller()
    await world.look(controller)
    await world.look(controller, after_s=0.5)
    read = FleetStore.workers

    async def jumped(self: FleetStore) -> Fleet:
        fleet = await read(self)
        return Fleet(fleet.now_ms + jump_ms, fleet.leases, fleet.ended)

    monkeypatch.setattr(FleetStore, "workers", jumped)
    await world.look(controller, after_s=0.5)
    progress = await world.parts.leases.progress(MODEL)
    assert progress is not None
    assert progress.counted_s == pytest.approx(1.0)
    assert (await world.rollout()).step == 0


async def test_redis_that_dies_and_comes_back_costs_time_only(
    world: World, redis_server: EmbeddedServer
) -> None:
    await world.start(SLOW)
    controller = world.controller()
    controller.clock = controller.observer.clock = time.monotonic
    running = asyncio.create_task(controller.run())
    counted_s = await _counted(world, more_than_s=0.1)
    os.kill(redis_server.pid, signal.SIGKILL)
    redis_server.stop()
    await asyncio.sleep(0.2)  # some ticks without Redis: the state that is waited for is that nothing happens
    assert not running.done()
    again = EmbeddedServer.start(redis_server.data_dir, program=redis_server.program)
    try:
        await announce(world.redis, "gw-1", 10**9)
        await _counted(world, more_than_s=counted_s + 0.1)
        assert (await world.rollout()).phase is Phase.RUNNING
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        again.stop()


async def test_without_any_gateway_no_time_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.start(SLOW)
    controller = world.controller()
    await world.look(controller)
    fleet = world.parts.fleet
    gateways = [gateway.gateway_id for gateway in await fleet.gateways()]
    assert gateways == ["gw-1"]

    async def none(self: FleetStore) -> list[Any]:
        return []

    monkeypatch.setattr(FleetStore, "gateways", none)
    await world.look(controller, after_s=2)
    progress = await world.parts.leases.progress(MODEL)
    assert progress is not None
    assert progress.counted_s == 0
    assert "gateway" in progress.waits_for
