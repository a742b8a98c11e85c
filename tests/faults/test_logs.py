"""What real processes log while a worker is killed: JSON lines that name the request everywhere the same."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.store.documents import Change, Documents
from tests.sockets import PATIENCE_S, eventually, free_port
from tests.workers.models import identity
from tests.workers.processes import Running, infer_body, register, start

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ALWAYS = {"time", "level", "logger", "message", "process"}


def lines(log: Path) -> list[dict[str, Any]]:
    """Every line, each of them one JSON object."""
    return [json.loads(line) for line in log.read_text().splitlines() if not line.startswith("control API")]


async def until(url: str, status: int = 200, *, within_s: float = PATIENCE_S, **sent: Any) -> httpx2.Response:
    """Asks until it answers so."""
    async with asyncio.timeout(within_s), httpx2.AsyncClient(timeout=PATIENCE_S) as client:
        while True:
            try:
                reply = await client.request("POST" if sent else "GET", url, **sent)
                if reply.status_code == status:
                    return reply
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.02)


def documented() -> set[str]:
    """The fields that docs/observability.md explains."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "observability.md").read_text()
    cells = re.findall(r"^\| (`[^|]+`) \|", page.partition("## Logs")[2], re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


class Installation:
    """A gateway, a control process and two workers of `m`, as real processes with JSON logs."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.directory = directory
        self.url = redis_url
        self.port, self.control_port = free_port(), free_port()
        self.running: dict[str, Running] = {}

    def begin(self, name: str, *arguments: str) -> None:
        command = (*arguments, "--redis-url", self.url, "--log-format", "json")
        self.running[name] = start(self.directory / f"{name}.log", *command)

    def worker_id(self, name: str) -> str:
        """Nobody's on this machine but ours: its socket is named after it."""
        return f"{name}-{self.port}"

    def log(self, name: str) -> list[dict[str, Any]]:
        return lines(self.running[name].log)

    def calls(self) -> list[dict[str, Any]]:
        return [line for line in self.log("control") if line["logger"] == "turnout.control.calls"]


@pytest.fixture
async def installation(redis: Redis, redis_url: str, tmp_path: Path) -> AsyncIterator[Installation]:
    await register(redis, tmp_path, identity("FP32", [None, 1]))
    route = {"model": "m", "split": [{"version": "1", "weight": 100}]}
    change = Change("route/m", route | {"retry": {"attempts": 2, "budget_percent": 100}}, None)
    await Documents(redis).commit([change], author="test", reason="", op_id="route")
    made = Installation(tmp_path, redis_url)
    store = ("--artifacts", str(tmp_path))
    for name in ("w1", "w2"):
        made.begin(
            name, "worker", "--model", "m", "--version", "1", "--worker-id", made.worker_id(name), *store
        )
    places = ("--port", str(made.port), "--metrics-port", "0", "--data-dir", str(tmp_path / "gateway"))
    made.begin("gateway", "gateway", *places)
    data = ("--port", str(made.control_port), "--data-dir", str(tmp_path / "control"))
    made.begin("control", "control", *data, *store, "--no-console")
    yield made
    for process in made.running.values():
        process.cleanup()


async def test_a_killed_worker_is_told_in_lines_that_name_the_request_and_its_prediction(
    installation: Installation,
) -> None:
    control = f"http://127.0.0.1:{installation.control_port}"
    predict = f"http://127.0.0.1:{installation.port}/v2/models/m/infer"
    await until(f"{control}/healthz")
    async with asyncio.timeout(PATIENCE_S), httpx2.AsyncClient(timeout=PATIENCE_S) as client:
        while (await client.get(f"{control}/api/v1/status")).json()["workers_ready"] < 2:
            await asyncio.sleep(0.05)
    await until(predict, content=infer_body([1.0]))

    installation.running["w1"].end(signal.SIGKILL)
    replies: dict[str, httpx2.Response] = {}
    async with httpx2.AsyncClient(timeout=PATIENCE_S) as client:
        for number in range(200):  # until one was sent to the worker that is gone
            sent = {"x-request-id": f"order-{number}", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"}
            reply = await client.post(predict, content=infer_body([1.0]), headers=sent)
            assert reply.status_code == 200  # the other worker answered
            replies[sent["x-request-id"]] = reply
            if any("an attempt at" in line["message"] for line in installation.log("gateway")):
                break
        changed = await client.put(
            f"{control}/api/v1/models/m/versions/1/workers",
            json={"workers": 2},
            headers={"x-request-id": "deploy-7", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
        )
    assert changed.status_code == 200

    told = [line for line in installation.log("gateway") if "an attempt at" in line["message"]]
    assert told, installation.running["gateway"].said()
    reply = replies[told[0]["request_id"]]
    expected = {
        "level": "warning",
        "logger": "turnout.gateway.requests",
        "process": "gateway[0]",
        "model": "m",
        "version": "1",
        "worker": installation.worker_id("w1"),
        "attempt": 1,
        "trace_id": TRACE,
        "revision": int(reply.headers["turnout-revision"]),
        "prediction_id": reply.headers["turnout-prediction-id"],
    }
    assert expected.items() <= told[0].items()
    await eventually(installation.calls)  # logged when the reply has gone
    (call,) = installation.calls()
    assert (call["request_id"], call["status"], call["trace_id"]) == ("deploy-7", 200, TRACE)
    assert call["message"] == "PUT /api/v1/models/m/versions/1/workers 200"
    for name in installation.running:
        for line in installation.log(name):
            assert ALWAYS <= line.keys() <= documented(), (name, line)
