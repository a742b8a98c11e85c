"""Several gateway processes behind one port: replaced without loss, restarted, counted together."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from loadtests.client import Load
from tests.dataplane.conftest import Turnout
from tests.sockets import PATIENCE_S, Raw, ask, eventually, free_port

PATH = "/v2/models/digits/infer"


@dataclass
class Gateway:
    process: asyncio.subprocess.Process
    port: int
    metrics_port: int
    turnout: Turnout

    async def pids(self) -> set[int]:
        return {int(pid) for pid in _children(self.process.pid)}

    async def metric(self, name: str) -> dict[tuple[str, ...], float]:
        status, _, text = await ask(self.metrics_port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status == 200
        return {
            tuple(sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples
            if sample.name == name
        }


def _children(pid: int) -> list[str]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return found.stdout.split()


def _is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


async def _answers(port: int, path: str) -> bool:
    try:
        return (await ask(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))[0] == 200
    except (OSError, asyncio.IncompleteReadError):
        return False


@pytest.fixture
async def gateway(turnout: Turnout) -> AsyncIterator[Gateway]:
    await turnout.route()
    for _ in range(2):
        await turnout.worker()
    port, metrics_port = free_port(), free_port()
    command = [sys.executable, "-m", "gateway.cli.main", "gateway", "--processes", "2"]
    places = ["--port", str(port), "--metrics-port", str(metrics_port), "--data-dir", str(turnout.data_dir)]
    environment = os.environ | {"TURNOUT_REDIS_URL": turnout.url}
    process = await asyncio.create_subprocess_exec(
        *command, *places, env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(PATIENCE_S):
        while not (await _answers(port, "/v2/health/ready") and await _answers(metrics_port, "/metrics")):
            await asyncio.sleep(0.05)
    yield Gateway(process, port, metrics_port, turnout)
    if process.returncode is None:
        process.terminate()
    async with asyncio.timeout(PATIENCE_S):
        await process.wait()


async def test_every_process_is_counted_in_one_place(gateway: Gateway) -> None:
    async with Load(gateway.port, PATH, [b"{}"], connections=8) as seen:
        await eventually(lambda: len(seen.replies) >= 500)
    assert not seen.failures()
    counted = await gateway.metric("turnout_requests_total")
    assert sum(counted.values()) == len(seen.replies)
    assert len(await gateway.metric("turnout_route_revision")) == 2


async def test_replacing_every_process_loses_no_request_and_no_count(gateway: Gateway) -> None:
    before = await gateway.pids()
    async with Load(gateway.port, PATH, [b"{}"], connections=8) as seen:
        await eventually(lambda: len(seen.replies) >= 200)
        await gateway.metric("turnout_requests_total")
        gateway.process.send_signal(signal.SIGHUP)
        await _replaced(gateway, before)
    assert seen.failures() == Counter()
    assert len(await gateway.pids()) == 2


async def _replaced(gateway: Gateway, before: set[int]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (now := await gateway.pids()) & before or len(now) != 2:
            await asyncio.sleep(0.05)


async def test_a_killed_process_is_replaced_and_the_other_goes_on(gateway: Gateway) -> None:
    before = await gateway.pids()
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: not _is_running(victim))  # until then the kernel may still give it a connection
    for _ in range(20):
        assert (await ask(gateway.port, b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200
    async with asyncio.timeout(PATIENCE_S):
        while victim in (now := await gateway.pids()) or len(now) != 2:
            await asyncio.sleep(0.05)


async def test_sigterm_under_load_cuts_off_no_request_on_an_accepted_connection(gateway: Gateway) -> None:
    """A reply that does not say `close` promises that the next request is answered, too."""
    request = b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    outcomes: Counter[str] = Counter()

    async def client() -> None:
        while True:
            try:
                raw = await Raw.open(gateway.port)
            except ConnectionResetError:  # made in the instant in which the last process stopped listening
                outcomes["not accepted"] += 1
                continue
            is_accepted = False
            try:
                while True:
                    raw.send(request)
                    status, headers, _ = await raw.reply()
                    outcomes[str(status)] += 1
                    is_accepted = True
                    if headers.get("connection") == "close":
                        break
            except (ConnectionError, asyncio.IncompleteReadError):
                outcomes["cut off" if is_accepted else "not accepted"] += 1
            finally:
                raw.close()

    clients = [asyncio.create_task(client()) for _ in range(8)]
    await eventually(lambda: outcomes["200"] > 100)
    gateway.process.terminate()
    ended = await asyncio.gather(*clients, return_exceptions=True)
    assert {type(error) for error in ended} == {ConnectionRefusedError}
    assert set(outcomes) <= {"200", "not accepted"}
    await eventually(lambda: gateway.process.returncode is not None)
    assert gateway.process.returncode == 0
