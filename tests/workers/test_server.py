"""Connections in front of the batcher: turns between them, and places in the queue."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import orjson
import pytest

from gateway.contract.signature import Signature, TensorSpec
from gateway.wire.limits import Limits
from gateway.wire.server import HttpServer
from tests.sockets import Raw, eventually, free_socket
from tests.workers.processes import infer_body, request
from workers.batcher import Batcher, Bounds
from workers.batching import Costs
from workers.pages import make_app
from workers.server import WorkerProtocol
from workers.service import Service

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 1)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 1)),),
)
IN_THE_LOOP, IN_THE_THREAD = Costs(5.0, 0.1), Costs(1000.0, 0.0)


class Worker:
    """A worker in this process whose model gives back its input and notes it; `gate` holds its runs."""

    def __init__(self, costs: Costs, max_queue_requests: int) -> None:
        self.runs: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.service = Service("m", "1")
        bounds = Bounds(
            max_rows=64,
            max_delay_s=0.0,
            max_queue_requests=max_queue_requests,
            max_queue_rows=10_000,
            inline_limit_us=300.0,
            is_uniform=True,
        )
        self.batcher = Batcher(self.run, costs, bounds, self.service.tally)
        self.service.serve(SIGNATURE, self.batcher, "0" * 64)
        protocol = type("Protocol", (WorkerProtocol,), {"service": self.service})
        self.server = HttpServer(protocol, make_app(self.service), limits=Limits())

    def run(self, inputs: list[Any]) -> list[Any]:
        self.runs.append(inputs[0].ravel().tolist())
        assert self.gate.wait(60)
        return [np.array(inputs[0])]


Start = Callable[..., Awaitable[tuple[Worker, list[Raw]]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a worker with some connections to it."""
    workers: list[Worker] = []
    opened: list[Raw] = []

    async def begin(costs: Costs, *, connections: int, max_queue_requests: int = 1024) -> Any:
        worker = Worker(costs, max_queue_requests)
        workers.append(worker)
        await worker.server.start(free_socket())
        raws = [await Raw.open(worker.server.port) for _ in range(connections)]
        opened.extend(raws)
        return worker, raws

    yield begin
    for raw in opened:
        raw.close()
    for worker in workers:
        worker.gate.set()
        await worker.server.drain(grace_s=0, deadline_s=60)
        worker.batcher.close()


def asking(value: float, **headers: str) -> bytes:
    return request(infer_body([value]), headers=headers)


async def test_a_thousand_pipelined_requests_take_one_turn_each_beside_other_connections(
    start: Start,
) -> None:
    worker, (many, *others) = await start(IN_THE_LOOP, connections=32)
    many.send(asking(0.0) * 1000)
    for number, raw in enumerate(others, 1):
        raw.send(asking(float(number)))
    for number, raw in enumerate(others, 1):
        status, _, body = await raw.reply()
        assert (status, orjson.loads(body)["outputs"][0]["data"]) == (200, [number])
    for _ in range(1000):
        assert (await many.reply())[0] == 200
    assert max(run.count(0.0) for run in worker.runs) == 1
    order = [value for run in worker.runs for value in run]
    last_of_others = max(at for at, value in enumerate(order) if value)
    assert order[:last_of_others].count(0.0) <= 100


async def test_a_caller_that_goes_away_frees_its_place_at_once(start: Start) -> None:
    worker, (first, *waiting, late, later) = await start(IN_THE_THREAD, connections=7, max_queue_requests=4)
    worker.gate.clear()
    first.send(asking(0.0))
    await eventually(lambda: worker.runs)
    for raw in waiting:
        raw.send(asking(1.0))
    await eventually(lambda: len(worker.batcher) == 4)
    late.send(asking(2.0))
    status, headers, _ = await late.reply()
    assert (status, headers["turnout-error"], headers["retry-after"]) == (503, "overloaded", "1")
    for raw in waiting:
        raw.reset()
    await eventually(lambda: len(worker.batcher) == 0)
    later.send(asking(3.0))
    await eventually(lambda: len(worker.batcher) == 1)
    worker.gate.set()
    assert (await later.reply())[0] == 200
    assert worker.runs == [[0.0], [3.0]]
    assert worker.service.tally.outcomes == {"ok": 2, "overloaded": 1, "client_gone": 4}


async def test_a_request_whose_time_would_be_over_before_its_turn_is_refused_at_once(start: Start) -> None:
    worker, (first, second, late) = await start(Costs(1e8, 0.0), connections=3)  # 100 s a run
    worker.gate.clear()
    first.send(asking(0.0))
    await eventually(lambda: worker.runs)
    second.send(asking(1.0))
    await eventually(lambda: len(worker.batcher) == 1)
    late.send(asking(2.0, **{"turnout-timeout-ms": "150000"}))
    status, headers, body = await late.reply()
    assert (status, headers["turnout-error"], headers["retry-after"]) == (503, "overloaded", "1")
    assert b"turn would come in" in body
    worker.gate.set()
    assert [(await raw.reply())[0] for raw in (first, second)] == [200, 200]
