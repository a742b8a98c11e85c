"""How fast does the control process tell of 10,000 versions of 500 models? `python -m loadtests.looks`.

Over the control API as an ASGI application and the embedded Redis: no network. Every model has a route and a
ready worker, a fifth of them traffic; nothing needs the other versions. The first answer is told apart: a
control process reads everything once. `cpu` is that of this process, and `held` the longest turn of its event
loop, in CPU time, too: both stay true on a busy machine, where the times say little.
"""

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from pydantic import BaseModel
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.pool import Keep, Lease, Supervision, Wanted, WorkerState
from gateway.contract.route import Route
from gateway.control.app import build_app
from gateway.control.overview import FRESH_S
from gateway.control.settings import ControlSettings
from gateway.store.connection import connect
from gateway.store.documents import Change, Documents
from gateway.store.embedded import EmbeddedServer
from gateway.store.predictions import Batch, Predictions
from loadtests.registry import VERSIONS
from loadtests.registry import fill as fill_registry

MODELS, ROUNDS = 500, 7
TICK_S = 0.001
WITH_TRAFFIC = 5  # every so many-th model
# What is asked -> by whom, beside operators
ASKED = {
    "/overview": "top, the console's overview",
    "/status": "status, the console",
    "/pools": "pools, the console",
    "/routes": "the console's overview",
    "/rollouts": "the console's overview",
    "/gateways": "the console's fleet",
    "/models/m0042": "model show, the console",
    "/models/m0042/compare": "compare, the console",
}
HOST = "http://127.0.0.1:8090"
METRICS = f"{HOST}/metrics"


async def fill(redis: Redis, models: int) -> None:
    """Versions, wishes by need, routes with a history, ready workers and a supervisor."""
    await fill_registry(redis, models=models)
    documents = Documents(redis)
    wish = Wanted(workers=1, keep=Keep.NEEDED).model_dump(mode="json")
    leases: dict[Any, Any] = {}
    for number, name in enumerate(_names(models)):
        wishes = [Change(keys.wanted_field(name, str(one)), wish, 0) for one in range(VERSIONS)]
        for changes in ([*wishes, _route(name, "0")], [_route(name, "1")]):
            await documents.commit(changes, author="bench", reason="", op_id=uuid.uuid4().hex)
        lease = Lease(
            worker_id=name, model=name, version="1", digest=f"{number * VERSIONS + 1:064x}",
            host="127.0.0.1", port=9, pid=1, state=WorkerState.READY, started_ms=1,
        )  # fmt: skip
        leases[name] = _for_long(lease)
    await redis.hset(keys.WORKERS, mapping=leases)
    told = Supervision(
        supervisor_id="bench", host="bench", pid=1, started_ms=1, workers=models, max_workers=models
    )
    await redis.hset(keys.SUPERVISORS, "bench", _for_long(told))


def _names(models: int) -> list[str]:
    return [f"m{model:04}" for model in range(models)]


def _route(model: str, version: str) -> Change:
    route = Route.model_validate({"model": model, "split": [{"version": version, "weight": 100}]})
    return Change(keys.route_field(model), route.model_dump(mode="json"), expected_revision=None)


def _for_long(told: BaseModel) -> str:
    """As it lies in Redis, said long after this."""
    return f"{2**43} {told.model_dump_json(exclude={'seen_ms'})}"


async def ask_a_bit(redis: Redis, number: int, models: int) -> None:
    """What gateways write of some models."""
    minute = int(time.time() // 60)
    counts = {"p|1|n": 50, "p|1|ok": 50, "p|1|us": 50_000, "p|1|h20": 40, "p|1|h21": 10}
    for model in _names(models)[::WITH_TRAFFIC]:
        await Predictions(redis).write(model, "bench", Batch(number, [], {minute: dict(counts)}))


class Held:
    """The longest turn of the event loop since `begin`, in ms of CPU."""

    def __init__(self) -> None:
        self._longest_s = 0.0

    def begin(self) -> None:
        self._longest_s = 0.0

    @property
    def longest_ms(self) -> float:
        return self._longest_s * 1000

    async def watch(self) -> None:
        while True:
            before_s = time.thread_time()
            await asyncio.sleep(TICK_S)
            self._longest_s = max(self._longest_s, time.thread_time() - before_s)


@asynccontextmanager
async def control(url: str, directory: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """One that nobody has asked yet."""
    app = build_app(ControlSettings(redis_url=url, artifacts_dir=directory, store_timeout_s=60.0))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=f"{HOST}/api/v1") as client:
        yield client
    await app.state.parts.aclose()


@dataclass(frozen=True, slots=True)
class Taken:
    ms: float
    cpu_ms: float
    held_ms: float
    answer_bytes: int


async def measure(url: str, directory: Path, addresses: Sequence[str], *, models: int, rounds: int) -> None:
    redis = connect(url, name="bench", timeout_s=60.0)
    await fill(redis, models)
    held = Held()
    watching = asyncio.create_task(held.watch(), name="held")
    print(f"{'':24}{'first ms':>10}{'cpu':>8}{'held':>8}{'later ms':>10}{'cpu':>8}{'held':>8}{'KiB':>8}")
    number = 0
    for path in addresses:
        taken: list[Taken] = []
        async with control(url, directory) as client:
            await client.get(f"{HOST}/healthz")
            gc.collect()
            for round_ in range(rounds + 1):
                await ask_a_bit(redis, number := number + 1, models)
                await asyncio.sleep(FRESH_S if round_ else 0)
                taken.append(await _ask(client, path, held))
        first, later = taken[0], taken[1:]
        print(
            f"{path.removeprefix(HOST):24}{first.ms:10.0f}{first.cpu_ms:8.0f}{first.held_ms:8.1f}"
            f"{statistics.median(one.ms for one in later):10.1f}"
            f"{statistics.median(one.cpu_ms for one in later):8.1f}"
            f"{max(one.held_ms for one in later):8.1f}{later[-1].answer_bytes / 1024:8.0f}",
            flush=True,
        )
    watching.cancel()
    await asyncio.wait([watching])
    await redis.aclose()


async def _ask(client: httpx2.AsyncClient, path: str, held: Held) -> Taken:
    """Until the whole answer is there."""
    held.begin()
    began, began_cpu = time.perf_counter(), time.process_time()
    reply = await client.get(path)
    taken_ms = (time.perf_counter() - began) * 1000
    cpu_ms = (time.process_time() - began_cpu) * 1000
    reply.raise_for_status()
    await asyncio.sleep(2 * TICK_S)
    return Taken(taken_ms, cpu_ms, held.longest_ms, len(reply.content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=MODELS, help=f"each with {VERSIONS} versions")
    parser.add_argument("--only", nargs="*", default=(), metavar="ADDRESS", help="for instance /status")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="later answers to each question")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedServer.start(Path(directory) / "redis")
        try:
            folder, only = Path(directory) / "artifacts", arguments.only or (*ASKED, METRICS)
            asyncio.run(measure(server.url, folder, only, models=arguments.models, rounds=arguments.rounds))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
