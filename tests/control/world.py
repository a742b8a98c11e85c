"""An installation around the control API for tests: registered versions, workers, gateways.

Workers and gateways are what they are to the control process: entries in Redis, and for workers that must
answer a small real HTTP server.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.errors import UpstreamError
from gateway.contract.pool import Lease, Presence, WorkerState
from gateway.contract.signature import Signature, TensorSpec
from gateway.contract.version import Version
from gateway.store.connection import ask
from gateway.store.documents import Change, Documents
from tests.sockets import PATIENCE_S

SIGNATURE = Signature(
    inputs=(TensorSpec(name="X", datatype="FP32", shape=(-1, 64)),),
    outputs=(
        TensorSpec(name="label", datatype="INT64", shape=(-1,)),
        TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 10)),
    ),
)

PATIENT = {"TURNOUT_CONTROL__STORE_TIMEOUT_S": str(PATIENCE_S)}  # with Redis, for a control process
LONG_FROM_NOW_MS = 9_999_999_999_999  # a busy machine must not look like a worker that died


def digest_of(version: str) -> str:
    return version.encode().hex().zfill(64)


async def add_versions(redis: Redis, *names: str, model: str = "digits") -> None:
    """Registers versions as the control API would, without model files."""
    changes = [
        Change(
            keys.version_field(model, name),
            Version(
                model=model, version=name, digest=digest_of(name), size_bytes=1, signature=SIGNATURE
            ).model_dump(mode="json"),
            expected_revision=None,
        )
        for name in names
    ]
    await Documents(redis).commit(changes, author="test", reason="", op_id=f"versions-{model}-{names}")


async def add_worker(
    redis: Redis,
    version: str,
    *,
    model: str = "digits",
    port: int = 9,
    state: WorkerState = WorkerState.READY,
    digest: str | None = None,
) -> None:
    """A worker's lease; it lasts longer than any test."""
    worker_id = f"{model}-{version}-{port}"
    lease = Lease(
        worker_id=worker_id, model=model, version=version, digest=digest or digest_of(version),
        host="127.0.0.1", port=port, pid=1, state=state, started_ms=1,
    )  # fmt: skip
    entry = lease.model_dump_json(exclude={"seen_ms"})
    await redis.hset(keys.WORKERS, worker_id, f"{LONG_FROM_NOW_MS} {entry}")


async def add_ready_versions(redis: Redis, *names: str, model: str = "digits") -> None:
    await add_versions(redis, *names, model=model)
    for name in names:
        await add_worker(redis, name, model=model)


@asynccontextmanager
async def following_gateway(redis: Redis, gateway_id: str = "gw-1") -> AsyncIterator[None]:
    """A gateway that serves every new revision a moment after its commit."""
    documents = Documents(redis)

    end = asyncio.Event()

    async def follow() -> None:
        """Until the end, or until Redis is gone."""
        with contextlib.suppress(UpstreamError):
            while not end.is_set():
                revision = (await documents.follow(2**53)).revision
                await announce(redis, gateway_id, revision)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(end.wait(), 0.002)

    await announce(redis, gateway_id, 0)
    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        end.set()
        await task


async def announce(
    redis: Redis,
    gateway_id: str,
    revision: int,
    *,
    problems: int = 0,
    refused: Mapping[str, int] | None = None,
) -> None:
    """It lasts longer than any test."""
    presence = Presence(
        gateway_id=gateway_id,
        pid=1,
        address=f"127.0.0.1:{gateway_id[-1]}080",
        revision=revision,
        started_ms=1,
        problems=problems,
        refused=dict(refused or {}),
    )
    entry = presence.model_dump_json(exclude={"seen_ms"})
    await ask(redis, "HSET", keys.GATEWAYS, gateway_id, f"{LONG_FROM_NOW_MS} {entry}")


@asynccontextmanager
async def answering_worker(
    redis: Redis,
    version: str,
    *,
    infer_status: int = 200,
    says_digest: str | None = None,
    data: Sequence[Any] = (),
) -> AsyncIterator[list[dict[str, Any]]]:
    """A worker with a lease that answers health and inference; gives the bodies of its inferences."""
    bodies: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
                headers = dict(line.split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if head[0].startswith("post"):
                    bodies.append(json.loads(body))
                digest = says_digest or digest_of(version)
                writer.write(_reply(head[0], headers, status=infer_status, digest=digest, data=data))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        await add_worker(redis, version, port=server.sockets[0].getsockname()[1])
        yield bodies
    finally:
        server.close()


def _reply(line: str, headers: Mapping[str, str], *, status: int, digest: str, data: Sequence[Any]) -> bytes:
    if line.startswith("get"):
        return b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    outputs = [{"name": spec.name, "data": list(data)} for spec in SIGNATURE.outputs]
    content = json.dumps({"outputs": outputs}).encode()
    echo = f"{headers['turnout-attempt']};{digest[:12]}"
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\nturnout-attempt: {echo}\r\n\r\n"
    return head.encode() + content


def split(*weights: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"version": version, "weight": weight} for version, weight in weights]


def document(
    model: str = "digits", weights: Sequence[tuple[str, float]] = (("1", 100),), **fields: Any
) -> Any:
    return {"model": model, "split": split(*weights), **fields}
