"""A route follows an alias, though the leader is killed between the move and the rollout."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from gateway.contract import keys
from tests.control.world import PATIENT
from tests.dataplane.conftest import Turnout, turnout
from tests.faults.killed_follower import BEFORE
from tests.sockets import PATIENCE_S, free_port

__all__ = ["turnout"]
CHAMPION = {"alias": "champion", "plan": "quick"}
NEVER_S = "3600"  # a tick that this test does not live to see


@pytest.mark.timeout(400)
def test_a_leader_killed_at_any_of_its_calls_begins_one_rollout_or_none(redis_url: str) -> None:
    command = [sys.executable, "-m", "tests.faults.killed_follower", redis_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=380, check=False)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(runs) > 10, "to answer a move takes more calls than that"
    begun = [BEFORE + 1] * 3 + [1]  # route, rollout and answer are one commit, made once
    for run in runs:
        assert run["killed"] in ([BEFORE, 0, 0, 0], begun), run
        assert run["after"] == begun, run


@asynccontextmanager
async def control(turnout: Turnout, *, tick_s: str) -> AsyncIterator[tuple[subprocess.Popen[bytes], Any]]:
    """A real control process, and a client of it."""
    port = free_port()
    plans = turnout.data_dir / "plans"
    plans.mkdir(exist_ok=True)
    (plans / "quick.yaml").write_text("steps: [{weight: 50}, {weight: 100}]\n")
    process = subprocess.Popen(  # noqa: ASYNC220 - it starts in a millisecond
        [
            sys.executable, "-m", "gateway.cli.main", "control", "--port", str(port),
            "--redis-url", turnout.url, "--artifacts", str(turnout.data_dir / "artifacts"),
        ],
        stderr=subprocess.DEVNULL,
        env=os.environ
        | PATIENT
        | {"TURNOUT_CONTROL__ROLLOUT_TICK_S": tick_s, "TURNOUT_CONTROL__PLANS_DIR": str(plans)},
    )  # fmt: skip
    try:
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/api/v1", timeout=PATIENCE_S, trust_env=False
        ) as client:
            await _until_up(client)
            yield process, client
    finally:
        process.kill()
        await asyncio.to_thread(process.wait, PATIENCE_S)


async def _until_up(client: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                if (await client.get("/rollouts")).status_code == 200:
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.02)


async def _until_answered(client: httpx2.AsyncClient, *states: str) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = (await client.get("/models/digits/aliases")).json()["following"]
            if found["state"] in states:
                return found
            await asyncio.sleep(0.02)


@pytest.mark.timeout(300)
async def test_what_a_killed_control_process_did_not_begin_the_next_one_does_and_traffic_follows(
    turnout: Turnout,
) -> None:
    await turnout.route(follow=CHAMPION)
    for version in ("1", "2"):
        await turnout.worker(version=version)
    await turnout.start()
    await turnout.has_workers(1, version="1")
    await turnout.has_workers(1, version="2")
    async with control(turnout, tick_s=NEVER_S) as (process, client):
        await _until_led(turnout)  # its first tick is over before the move, its next one never comes
        moved = await client.put("/models/digits/aliases/champion", json={"version": "2"})
        assert moved.status_code == 200, moved.text
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait, PATIENCE_S)
    assert await turnout.documents.get(keys.rollout_field("digits")) is None
    assert (await turnout.infer())[1]["turnout-version"] == "1"
    await turnout.redis.hset(keys.LEASE, "until_ms", "1")  # what five seconds of waiting would do
    async with control(turnout, tick_s="0.05") as (_, client):
        assert (await _until_answered(client, "arrived"))["version"] == "2"
        rollout = (await client.get("/models/digits/rollout")).json()
        assert (rollout["author"], rollout["phase"]) == ("alias/champion", "succeeded")
        assert [event["what"] for event in rollout["events"]].count("started") == 1
    assert (await turnout.infer())[1]["turnout-version"] == "2"


async def _until_led(turnout: Turnout) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await turnout.documents.get(keys.following_field("digits")) is None:
            await asyncio.sleep(0.02)
