"""One gateway process in the test's own loop, on a real Redis, with scripted workers behind it.

Its deadlines are longer than the patience of a test: what has to happen at once does not happen by them.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.errors import UpstreamError
from gateway.contract.pool import STAMPED_HSET
from gateway.dataplane import process
from gateway.dataplane.process import GatewayProcess
from gateway.dataplane.settings import GatewaySettings
from gateway.store.connection import connect
from gateway.store.documents import Change, Committed, Documents
from gateway.store.embedded import EmbeddedServer
from gateway.wire.tasks import end_tasks
from tests.scripted import DIGEST, Script, ScriptedWorker, usual
from tests.sockets import PATIENCE_S, ask, eventually, free_socket

Reply = tuple[int, dict[str, str], Any]
X = {"name": "X", "datatype": "FP32", "shape": [-1, 4]}
LABEL = {"name": "label", "datatype": "INT64", "shape": [-1]}
LONG_S = 5 * PATIENCE_S
NUMBER = {"name": "prediction", "datatype": "FP32", "shape": [-1]}


def version_document(model: str, version: str, output: dict[str, Any]) -> dict[str, Any]:
    signature = {"inputs": [X], "outputs": [output]}
    return {"model": model, "version": version, "digest": DIGEST, "size_bytes": 3, "signature": signature}


class Turnout:
    """What a test steers."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self.url = url
        self.data_dir = data_dir
        self.redis: Redis = connect(url, name="test-turnout", timeout_s=PATIENCE_S)
        self.documents = Documents(self.redis)
        self.workers: list[ScriptedWorker] = []
        self.settings = GatewaySettings(redis_url=url, data_dir=data_dir, flush_s=0.02, slow_start_s=0.0)
        self.process: GatewayProcess
        self.socket: socket.socket
        self.operations = 0
        self.beating: asyncio.Task[None]

    @property
    def port(self) -> int:
        return self.process.server.port

    async def start(self) -> None:
        """A gateway process, following what was committed so far."""
        self.process = GatewayProcess(self.settings)
        self.socket = free_socket()
        await self.process.start(self.socket)

    async def stop(self) -> None:
        for connection in list(self.process.server.connections):
            connection.transport.close()
        object.__setattr__(self.process.settings, "drain_grace_s", 0.0)
        await self.process.stop()

    async def beat(self) -> None:
        """Keep the workers' leases alive; a Redis that is away is tried again."""
        while True:
            try:
                await self.announce()
            except (UpstreamError, OSError, Exception):
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.5)

    async def announce(self) -> None:
        for worker in self.workers:
            entry = worker.lease().model_dump_json(exclude={"seen_ms"})
            await self.redis.eval(STAMPED_HSET, 1, keys.WORKERS, worker.name, entry, keys.CHANGES, "workers")

    async def worker(self, script: Script = usual, *, version: str = "1") -> ScriptedWorker:
        """One more worker of a version of `digits`, announced."""
        started = ScriptedWorker(script, name=f"w{len(self.workers)}", version=version)
        self.workers.append(await started.start())
        await self.announce()
        return started

    async def commit(self, documents: Mapping[str, dict[str, Any] | None]) -> Committed:
        self.operations += 1
        changes = [Change(field, doc, None) for field, doc in documents.items()]
        return await self.documents.commit(changes, author="test", reason="", op_id=f"op{self.operations}")

    async def route(self, **parts: Any) -> Committed:
        """Commit a route of `digits` with versions 1 to 3; it is served when this returns."""
        split = [{"version": "1", "weight": 100}]
        document = {"model": "digits", "split": split, "timeout_s": LONG_S} | parts
        documents: dict[str, Any] = {"route/digits": document}
        for version in "123":
            documents[f"version/digits/{version}"] = version_document("digits", version, LABEL)
        committed = await self.commit(documents)
        if hasattr(self, "process"):
            await self.serves(committed.revision)
        return committed

    async def serves(self, revision: int) -> None:
        await eventually(lambda: self.process.table.snapshot.revision >= revision)

    async def has_workers(self, count: int, *, version: str = "1") -> None:
        pool = self.process.pools.get("digits", version)
        await eventually(lambda: len(pool.ready) == count)

    async def post(self, path: str, body: bytes = b"{}", **headers: str) -> Reply:
        """POST; `turnout_unit="a"` becomes the header `turnout-unit: a`."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        status, told, answer = await ask(self.port, head.encode() + body)
        return status, told, orjson.loads(answer) if answer else None

    async def infer(self, **headers: str) -> Reply:
        return await self.post("/v2/models/digits/infer", b"{}", **headers)

    async def get(self, path: str) -> Reply:
        status, told, answer = await ask(self.port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return status, told, orjson.loads(answer)


@pytest.fixture
async def turnout(
    redis_server: EmbeddedServer, tmp_path: Path, patient_with_redis: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Turnout]:
    monkeypatch.setattr(process, "SHED_S", LONG_S)  # on a busy machine copies for shadows are not shed
    made = Turnout(redis_server.url, tmp_path)
    made.beating = asyncio.create_task(made.beat())
    yield made
    await end_tasks([made.beating])
    if hasattr(made, "process"):
        await made.stop()
    for worker in made.workers:
        await worker.stop()
    await made.redis.aclose()
