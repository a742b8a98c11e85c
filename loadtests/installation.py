"""A Turnout installation for a benchmark: Redis with a route and versions, and one gateway process.

Where the workers are not what is measured, `installation` announces a static backend in their place: its
leases are renewed as workers renew theirs. Nothing else differs from a real installation.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from gateway.contract import keys
from gateway.contract.pool import HEARTBEAT_S, STAMPED_HSET, Lease, WorkerState
from gateway.contract.route import Route
from gateway.contract.signature import Signature, TensorSpec
from gateway.contract.version import Version
from gateway.store.connection import connect
from gateway.store.documents import Change, Documents
from gateway.store.embedded import EmbeddedServer
from loadtests.backend import DIGEST
from loadtests.started import free_port, started, wait_for_port

SIGNATURE = Signature(
    inputs=(TensorSpec(name="X", datatype="FP32", shape=(-1, 4)),),
    outputs=(TensorSpec(name="label", datatype="INT64", shape=(-1,)),),
)


@dataclass(frozen=True, slots=True)
class Installed:
    url: str
    pid: int


@contextlib.contextmanager
def redis_with(wanted: dict[str, dict[str, Any]], directory: Path, *, core: int) -> Iterator[Installed]:
    """A running Redis (on `core`) that holds these documents."""
    server = EmbeddedServer.start(directory)
    try:
        os.sched_setaffinity(server.pid, {core})
        asyncio.run(_commit(server.url, wanted))
        yield Installed(server.url, server.pid)
    finally:
        server.stop()


@contextlib.contextmanager
def installation(
    directory: Path,
    *,
    model: str,
    ports: tuple[int, int, int],
    shadow: str | None,
    is_foreign: bool,
    core: int,
) -> Iterator[Installed]:
    """A running Redis that a gateway can be started against; its workers are at `ports`."""
    leases = [lease(model, str(number), port, is_foreign=is_foreign) for number, port in enumerate(ports, 1)]
    with (
        redis_with(documents(model, shadow=shadow), directory, core=core) as redis,
        renewed(redis.url, leases),
    ):
        yield redis


@contextlib.contextmanager
def gateway(directory: Path, *, redis_url: str, core: int) -> Iterator[tuple[int, int]]:
    """One gateway process and its parent; gives the port, and the parent's pid."""
    port, log = free_port(), directory / "gateway.log"
    command = [
        *(sys.executable, "-m", "gateway.cli.main", "gateway", "--processes", "1"),
        *("--port", str(port), "--metrics-port", str(free_port())),
        *("--redis-url", redis_url, "--data-dir", str(directory / "data")),
    ]
    with started(command, core=core, log=log) as pid:
        wait_for_port(port, pid=pid, log=log)
        yield port, pid


def documents(model: str, *, shadow: str | None) -> dict[str, dict[str, Any]]:
    """Versions 1, 2 and 3, and a route that splits 90 to 10 by unit."""
    route = Route.model_validate(
        {
            "model": model,
            "split": [{"version": "1", "weight": 90}, {"version": "2", "weight": 10}],
            "sticky": {"header": "turnout-unit"},
            "shadows": [] if shadow is None else [{"version": shadow, "percent": 100}],
        }
    )
    versions = {
        keys.version_field(model, name): Version(
            model=model, version=name, digest=DIGEST, size_bytes=1, signature=SIGNATURE
        ).model_dump(mode="json")
        for name in ("1", "2", "3")
    }
    return {**versions, keys.route_field(model): route.model_dump(mode="json")}


async def _commit(url: str, wanted: dict[str, dict[str, Any]]) -> None:
    client = connect(url, name="turnout-bench")
    try:
        changes = [Change(field, doc, expected_revision=None) for field, doc in wanted.items()]
        await Documents(client).commit(changes, author="bench", reason="benchmark", op_id="bench")
    finally:
        await client.aclose()


def lease(model: str, version: str, port: int, *, is_foreign: bool = False) -> Lease:
    return Lease(
        worker_id=f"bench-{model}-{version}-{port}",
        model=model,
        version=version,
        digest=DIGEST,
        host="127.0.0.1",
        port=port,
        pid=os.getpid(),
        state=WorkerState.READY,
        started_ms=int(time.time() * 1000),
        is_foreign=is_foreign,
    )


@contextlib.contextmanager
def renewed(url: str, leases: list[Lease]) -> Iterator[None]:
    """Announce the leases now, and renew them until the block ends."""
    ended = threading.Event()
    client = redis.Redis.from_url(url)

    def renew(message: str) -> None:
        for lease in leases:
            client.eval(
                STAMPED_HSET, 1, keys.WORKERS, lease.worker_id, lease.model_dump_json(), keys.CHANGES, message
            )

    def keep_renewing() -> None:
        while not ended.wait(HEARTBEAT_S):
            renew("")

    renew("workers")
    thread = threading.Thread(target=keep_renewing, name="leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        client.close()
