"""SIGHUP: settings that can change live do, without a lost request; wrong ones change nothing."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.dataplane.settings import NEED_RESTART, GatewaySettings, with_live
from loadtests.client import Load
from tests.dataplane.conftest import Turnout
from tests.dataplane.test_parent import Gateway
from tests.sockets import PATIENCE_S, ask, eventually, free_port

PATH = "/v2/models/digits/infer"
BODY = b"{" + b" " * 2000 + b"}"


class Configured:
    """A gateway that reads its settings from a file, and what it says."""

    def __init__(self, gateway: Gateway, file: Path, log: Path) -> None:
        self.gateway = gateway
        self.file = file
        self.log = log

    def write(self, text: str) -> None:
        self.file.write_text(f"gateway: {{port: {self.gateway.port}, {text}}}")

    async def reload(self, text: str, *, until: str) -> None:
        """Change the file, ask for it, and wait for what the gateway says about it."""
        before = self.said().count(until)
        self.write(text)
        self.gateway.process.send_signal(signal.SIGHUP)
        await eventually(lambda: self.said().count(until) > before)

    def said(self) -> str:
        return self.log.read_text()

    async def status_of(self, body: bytes) -> int:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        return (await ask(self.gateway.port, head.encode() + body))[0]


REPLACED = "every gateway process was replaced"
METRICS = "metrics_port: {metrics_port}, drain_grace_s: 0.2"


@pytest.fixture
async def configured(turnout: Turnout, tmp_path: Path) -> AsyncIterator[Configured]:
    await turnout.route()
    await turnout.worker()
    port, metrics_port = free_port(), free_port()
    file, log = tmp_path / "turnout.yaml", tmp_path / "gateway.log"
    file.write_text(f"gateway: {{port: {port}, processes: 2, {METRICS.format(metrics_port=metrics_port)}}}")
    command = [sys.executable, "-m", "gateway.cli.main", "gateway", "--config", str(file)]
    environment = os.environ | {"TURNOUT_REDIS_URL": turnout.url}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, "--data-dir", str(turnout.data_dir), env=environment, stderr=output, stdout=output
        )
    await eventually(lambda: "serving on" in log.read_text())
    yield Configured(Gateway(process, port, metrics_port, turnout), file, log)
    if process.returncode is None:
        process.terminate()
    async with asyncio.timeout(PATIENCE_S):
        await process.wait()


def settings(configured: Configured, more: str) -> str:
    return f"{METRICS.format(metrics_port=configured.gateway.metrics_port)}, {more}"


async def test_a_lower_limit_and_a_third_process_come_under_load_without_a_lost_request(
    configured: Configured,
) -> None:
    before = await configured.gateway.pids()
    assert await configured.status_of(BODY) == 200
    async with Load(configured.gateway.port, PATH, [b"{}"], connections=8) as seen:
        await eventually(lambda: len(seen.replies) >= 100)
        wanted = settings(configured, "processes: 3, limits: {body_bytes: 1000}")
        await configured.reload(wanted, until=REPLACED)
        answered = len(seen.replies)
        await eventually(lambda: len(seen.replies) >= answered + 100)
    assert seen.failures() == Counter()
    assert await configured.status_of(BODY) == 413
    now = await configured.gateway.pids()
    assert len(now) == 3
    assert not now & before
    await configured.reload(settings(configured, "processes: 1"), until=REPLACED)
    assert len(await configured.gateway.pids()) == 1
    assert await configured.status_of(BODY) == 200


async def test_a_broken_file_changes_nothing_and_every_problem_is_told(configured: Configured) -> None:
    before = await configured.gateway.pids()
    wrong = settings(configured, "processes: 0, flush_s: soon, limits: {body: 1}")
    await configured.reload(wrong, until="the settings are wrong")
    assert "gateway.flush_s" in configured.said()
    assert "gateway.limits.body" in configured.said()
    await configured.reload(settings(configured, "processes: 0"), until="the settings are wrong")
    assert "gateway.processes: a gateway needs at least one" in configured.said()
    assert await configured.gateway.pids() == before
    assert await configured.status_of(BODY) == 200


async def test_a_changed_address_needs_a_restart_and_says_so(configured: Configured) -> None:
    await configured.reload(settings(configured, "host: 127.0.0.2"), until=REPLACED)
    assert "gateway.host needs a restart" in configured.said()
    assert await configured.status_of(BODY) == 200


def test_only_what_needs_a_restart_stays() -> None:
    now = GatewaySettings(port=1, processes=2, flush_s=0.1)
    wanted = GatewaySettings(port=2, processes=3, flush_s=0.5, redis_url="redis://elsewhere")
    then, kept = with_live(now, wanted)
    assert kept == ["redis_url", "port"]
    assert then == GatewaySettings(port=1, processes=3, flush_s=0.5)
    assert set(NEED_RESTART) <= set(GatewaySettings.__dataclass_fields__)
