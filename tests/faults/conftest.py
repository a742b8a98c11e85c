"""A gateway under fault: in the test's loop (`turnout`), or as real processes (`gateway`)."""

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.wire.limits import Limits
from tests.dataplane.conftest import Turnout, turnout
from tests.proxy import Plan, Proxy
from tests.scripted import Script, ScriptedWorker
from tests.sockets import PATIENCE_S, ask, eventually, free_port
from tests.wire.conftest import serve

__all__ = ["serve", "turnout"]
TCP_OPEN = ("01", "08")  # ESTABLISHED, CLOSE_WAIT, as proc(5) writes them
PATH = "/v2/models/digits/infer"


def request(body: bytes = b"{}", *, more: bytes = b"") -> bytes:
    """A prediction, byte for byte; `more` are header lines."""
    head = b"POST %b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n" % (PATH.encode(), more, len(body))
    return head + body


async def begin(turnout: Turnout, *scripts: Script, limits: Limits | None = None, **route: Any) -> None:
    """A gateway in this loop, with one worker of version 1 for each script."""
    await turnout.route(**route)
    for script in scripts:
        await turnout.worker(script)
    if limits is not None:
        turnout.settings = replace(turnout.settings, limits=limits)
    await turnout.start()
    await turnout.has_workers(len(scripts))


async def proxied(
    turnout: Turnout,
    proxies: list[Proxy],
    script: Script,
    plan: Plan,
    *,
    seed: int,
    is_foreign: bool = False,
) -> Proxy:
    """One more worker of version 1, reached through a proxy that is stopped with the test."""
    worker = await ScriptedWorker(script, name=f"w{len(turnout.workers)}").start()
    proxy = await Proxy(worker.port, plan, seed=seed).start()
    worker.port = proxy.port  # what it announces
    worker.is_foreign = is_foreign
    proxies.append(proxy)
    turnout.workers.append(worker)
    await turnout.announce()
    return proxy


@pytest.fixture
async def proxies() -> AsyncIterator[list[Proxy]]:
    started: list[Proxy] = []
    yield started
    for proxy in started:
        await proxy.stop()


@dataclass
class Gateway:
    """`turnout gateway` with one process; `pid` is that process, not its parent."""

    process: asyncio.subprocess.Process
    port: int
    metrics_port: int
    pid: int
    most_descriptors: int = 0  # once a test has lowered the limit

    def stat(self) -> list[str]:
        """Fields of /proc/<pid>/stat from the state on."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()

    @property
    def cpu_s(self) -> float:
        user, system = self.stat()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @property
    def rss_bytes(self) -> int:
        return int(self.stat()[21]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def clients(self) -> int:
        """Connections at its port that it has not closed."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        here = f"{socket.inet_aton('127.0.0.1')[::-1].hex().upper()}:{self.port:04X}"
        return sum(row[1] == here and row[3] in TCP_OPEN for row in rows)

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    async def metric(self, name: str) -> float:
        """The sum over all labels."""
        _, _, text = await ask(self.metrics_port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        values = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text.decode(), re.MULTILINE)
        return sum(map(float, values))


StartGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def start_gateway(turnout: Turnout) -> AsyncIterator[StartGateway]:
    started: list[asyncio.subprocess.Process] = []

    async def begin(**limits: float) -> Gateway:
        port, metrics_port, file = free_port(), free_port(), turnout.data_dir / "settings.yaml"
        file.write_text(yaml.safe_dump({"gateway": {"limits": limits, "drain_grace_s": 0.0}}))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.cli.main", "gateway", "--config", str(file)),
            *("--port", str(port), "--metrics-port", str(metrics_port)),
            *("--data-dir", str(turnout.data_dir)),
            env=os.environ | {"TURNOUT_REDIS_URL": turnout.url},
            stderr=asyncio.subprocess.DEVNULL,
        )
        started.append(process)
        await until_ready(port)
        found = await asyncio.to_thread(subprocess.check_output, ["pgrep", "-P", str(process.pid)])
        return Gateway(process, port, metrics_port, int(found))

    yield begin
    for process in started:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()


async def until_ready(port: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                if (await ask(port, b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200:
                    return
            await asyncio.sleep(0.025)


async def until_predicts(port: int) -> None:
    """A process is ready before its first worker is known."""
    async with asyncio.timeout(PATIENCE_S):
        while (await ask(port, request(b"0")))[0] != 200:
            await asyncio.sleep(0.01)


async def all_end(tasks: list[asyncio.Task[Any]]) -> None:
    await eventually(lambda: all(task.done() for task in tasks))
