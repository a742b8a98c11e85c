"""A real worker process: its lease, its end, its refusals."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.contract import keys
from gateway.contract.pool import Lease, WorkerState
from gateway.store.embedded import EmbeddedServer
from gateway.store.fleet import FleetStore
from tests.sockets import PATIENCE_S, Raw, ask, eventually, free_port
from tests.workers import models
from tests.workers.processes import (
    Running,
    infer_body,
    register,
    request,
    run,
    start,
    start_worker,
)

Starts = Callable[..., Running]
Connect = Callable[[Running, int], Awaitable[list[Raw]]]


@pytest.fixture
def started() -> Iterator[list[Running]]:
    """Processes that end with the test."""
    running: list[Running] = []
    yield running
    for each in running:
        each.cleanup()


@pytest.fixture(scope="module")
def slow_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Takes some ten milliseconds a run; four requests may wait."""
    directory = tmp_path_factory.mktemp("slow")
    worker = start_worker(directory, models.slow(400), "--max-queue-requests", "4", "--drain-grace-s", "0")
    yield worker
    assert worker.end() == 0
    assert "Traceback" not in worker.said()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens connections that are closed with the test."""
    opened: list[Raw] = []

    async def begin(worker: Running, count: int) -> list[Raw]:
        raws = [await Raw.open(worker.port) for _ in range(count)]
        opened.extend(raws)
        return raws

    yield begin
    for raw in opened:
        raw.close()
        with suppress(ConnectionError):
            await raw.writer.wait_closed()


@pytest.fixture
def start_leased(tmp_path: Path, redis_url: str, started: list[Running]) -> Starts:
    """Starts a worker of the registered version 1 of `m`."""

    def begin(*options: str) -> Running:
        port = free_port()
        worker = start(
            tmp_path / f"worker-{len(started)}.log",
            *("worker", "--model", "m", "--version", "1", "--redis-url", redis_url),
            *("--artifacts", str(tmp_path / "artifacts"), "--port", str(port), *options),
            port=port,
        )
        started.append(worker)
        return worker

    return begin


async def leases(redis: Any) -> list[Lease]:
    return (await FleetStore(redis).workers()).leases


async def lease_in(redis: Any, state: WorkerState, *, within_s: float = PATIENCE_S) -> Lease:
    until = time.monotonic() + within_s
    while True:
        for lease in await leases(redis):
            if lease.state is state:
                return lease
        assert time.monotonic() < until, f"no lease is {state}"
        await asyncio.sleep(0.01)


async def test_a_worker_announces_itself_and_withdraws_at_its_end(
    tmp_path: Path, redis: Any, start_leased: Starts
) -> None:
    digest = await register(redis, tmp_path / "artifacts", models.linear())
    worker = start_leased("--worker-id", "one", "--drain-grace-s", "0")
    lease = await lease_in(redis, WorkerState.READY)
    assert (lease.worker_id, lease.model, lease.version, lease.digest) == ("one", "m", "1", digest)
    assert (lease.host, lease.port, lease.pid) == ("127.0.0.1", worker.port, worker.process.pid)
    assert worker.end() == 0
    assert await redis.hgetall(keys.WORKERS) == {}


async def test_a_gateway_nearby_is_answered_on_the_unix_socket_of_the_lease(
    tmp_path: Path, redis: Any, start_leased: Starts
) -> None:
    digest = await register(redis, tmp_path / "artifacts", models.linear())
    worker = start_leased("--drain-grace-s", "0")
    lease = await lease_in(redis, WorkerState.READY)
    reader, writer = await asyncio.open_unix_connection(f"\0{lease.near}")
    body = infer_body([1, 2, 3, 4], name="X", shape=[1, 4])
    writer.write(request(body, headers={"turnout-attempt": "10a"}))
    head = await reader.readuntil(b"\r\n\r\n")
    assert await asyncio.to_thread(worker.end) == 0
    answered = await reader.read()  # and then the end
    writer.close()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"turnout-attempt: 10a;{digest[:12]}".encode() in head
    assert b"outputs" in answered


async def test_the_lease_of_a_killed_worker_runs_out(
    tmp_path: Path, redis: Any, start_leased: Starts
) -> None:
    await register(redis, tmp_path / "artifacts", models.linear())
    worker = start_leased()
    await lease_in(redis, WorkerState.READY)
    assert worker.end(signal.SIGKILL) == -signal.SIGKILL
    assert await redis.hlen(keys.WORKERS) == 1  # it did not withdraw
    fleet = await FleetStore(redis).workers()
    until = time.monotonic() + PATIENCE_S
    while fleet.leases and time.monotonic() < until:
        await asyncio.sleep(0.1)
        fleet = await FleetStore(redis).workers()
    assert (fleet.leases, len(fleet.ended)) == ([], 1)


async def test_a_worker_survives_redis_and_announces_itself_again(
    tmp_path: Path, redis: Any, redis_server: EmbeddedServer, start_leased: Starts
) -> None:
    await register(redis, tmp_path / "artifacts", models.linear())
    worker = start_leased("--drain-grace-s", "0")
    await lease_in(redis, WorkerState.READY)
    body = infer_body([1, 2, 3, 4], name="X", shape=[1, 4])
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        await eventually(lambda: "Redis is away" in worker.said())
        assert (await ask(worker.port, request(body)))[0] == 200
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    await eventually(lambda: "Redis is back" in worker.said())
    await redis.hdel(keys.WORKERS, (await leases(redis))[0].worker_id)
    await lease_in(redis, WorkerState.READY)  # renewed within a heartbeat
    assert worker.said().count("Redis is away") == worker.said().count("Redis is back")  # once each time
    assert worker.end() == 0


async def test_a_worker_ends_well_while_redis_hangs(
    tmp_path: Path, redis: Any, redis_server: EmbeddedServer, start_leased: Starts
) -> None:
    await register(redis, tmp_path / "artifacts", models.linear())
    worker = start_leased("--drain-grace-s", "0")
    await lease_in(redis, WorkerState.READY)
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        assert await asyncio.to_thread(worker.end) == 0
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    assert "runs out by itself" in worker.said()
    assert "Traceback" not in worker.said()


async def test_sigterm_loses_no_request_in_flight(
    tmp_path: Path, started: list[Running], connect: Connect
) -> None:
    worker = start_worker(tmp_path, models.slow(200), "--drain-grace-s", "0.3", "--max-batch-rows", "2")
    started.append(worker)
    connections = await connect(worker, 12)
    for number, raw in enumerate(connections):
        raw.send(request(infer_body([float(number)])))
    worker.process.send_signal(signal.SIGTERM)
    replies = [await raw.reply() for raw in connections]
    for number, (status, _, body) in enumerate(replies):
        assert status == 200
        assert orjson.loads(body)["outputs"][0]["data"] == [float(number)]
    assert await asyncio.to_thread(worker.process.wait, PATIENCE_S) == 0
    assert "connections were cut off" not in worker.said()


async def test_a_draining_worker_still_answers_and_says_that_it_is_not_ready(
    tmp_path: Path, redis: Any, start_leased: Starts
) -> None:
    await register(redis, tmp_path / "artifacts", models.linear())
    worker = start_leased("--drain-grace-s", "600")
    await lease_in(redis, WorkerState.READY)
    worker.process.send_signal(signal.SIGINT)
    await lease_in(redis, WorkerState.DRAINING)
    status, headers, _ = await ask(worker.port, b"GET /v2/health/ready HTTP/1.1\r\nhost: w\r\n\r\n")
    assert (status, headers["turnout-error"], headers["connection"]) == (503, "draining", "close")
    body = infer_body([1, 2, 3, 4], name="X", shape=[1, 4])
    status, headers, _ = await ask(worker.port, request(body))
    assert (status, headers["connection"]) == (200, "close")
    worker.process.send_signal(signal.SIGTERM)  # a second signal ends it at once
    assert await asyncio.to_thread(worker.process.wait, PATIENCE_S) == 1


async def test_a_caller_that_goes_away_does_not_harm_its_batch(
    slow_worker: Running, connect: Connect
) -> None:
    first, gone, other = await connect(slow_worker, 3)
    first.send(request(infer_body([1.0])))
    await asyncio.sleep(0.01)  # the first is running: the next two wait together
    gone.send(request(infer_body([2.0])))
    other.send(request(infer_body([3.0])))
    gone.reset()
    for raw, value in ((first, 1.0), (other, 3.0)):
        status, _, body = await raw.reply()
        assert (status, orjson.loads(body)["outputs"][0]["data"]) == (200, [value])


async def test_a_full_queue_answers_503_and_when_to_try_again(slow_worker: Running, connect: Connect) -> None:
    connections = await connect(slow_worker, 12)
    for raw in connections:
        raw.send(request(infer_body([1.0]), headers={"turnout-attempt": "t"}))
    replies = [await raw.reply() for raw in connections]
    refused = [headers for status, headers, _ in replies if status == 503]
    assert refused
    assert len([status for status, _, _ in replies if status == 200]) >= 5
    for headers in refused:
        assert (headers["turnout-error"], headers["retry-after"]) == ("overloaded", "1")
        assert headers["turnout-attempt"].startswith("t;")


async def test_a_request_whose_time_would_be_over_before_its_turn_is_refused_at_once(
    slow_worker: Running, connect: Connect
) -> None:
    first, late = await connect(slow_worker, 2)
    first.send(request(infer_body([1.0])))
    await asyncio.sleep(0.005)
    late.send(request(infer_body([2.0]), headers={"turnout-timeout-ms": "1"}))
    status, headers, _ = await late.reply()
    assert (status, headers["turnout-error"], headers["retry-after"]) == (503, "overloaded", "1")
    assert (await first.reply())[0] == 200


async def test_a_request_that_comes_when_its_time_is_over_is_answered_504(
    slow_worker: Running, connect: Connect
) -> None:
    (late,) = await connect(slow_worker, 1)
    late.send(request(infer_body([2.0]), headers={"turnout-timeout-ms": "0"}))
    status, headers, _ = await late.reply()
    assert (status, headers["turnout-error"]) == (504, "deadline")


async def test_a_poisonous_input_fails_alone_over_http(
    tmp_path: Path, started: list[Running], connect: Connect
) -> None:
    worker = start_worker(tmp_path, models.poisonable(), "--drain-grace-s", "0")
    started.append(worker)
    connections = await connect(worker, 6)
    for number, raw in enumerate(connections):
        raw.send(request(infer_body([number], datatype="INT64", shape=[1])))
    replies = [await raw.reply() for raw in connections]
    assert [status for status, _, _ in replies] == [200] * 5 + [400]
    assert "out of data bounds" in orjson.loads(replies[5][2])["error"]


def test_a_model_with_a_fixed_first_dimension_is_served_one_request_at_a_time(
    tmp_path: Path, started: list[Running]
) -> None:
    worker = start_worker(tmp_path, models.identity("FP32", [2, 3]), "--drain-grace-s", "0")
    started.append(worker)

    async def both() -> list[Any]:
        body = infer_body([1, 2, 3, 4, 5, 6], shape=[2, 3])
        return await asyncio.gather(*(ask(worker.port, request(body)) for _ in range(4)))

    assert [status for status, _, _ in asyncio.run(both())] == [200] * 4
    assert "no free first dimension" in worker.said()


# -- refusals at the start ----------------------------------------------------------------------------------


async def test_an_unknown_version_is_one_clear_line(tmp_path: Path, redis_url: str) -> None:
    code, said = await asyncio.to_thread(
        run,
        "worker",
        "--model",
        "m",
        "--version",
        "9",
        "--redis-url",
        redis_url,
        "--artifacts",
        str(tmp_path),
    )
    assert (code, said) == (1, "turnout: worker of m 9: m has no version 9: register it first\n")


async def test_a_missing_a_changed_and_a_foreign_file_are_refused(
    tmp_path: Path, redis: Any, redis_url: str
) -> None:
    artifacts = tmp_path / "artifacts"
    digest = await register(redis, artifacts, models.linear())
    file = artifacts / "sha256" / digest[:2] / digest
    command = (
        "worker",
        "--model",
        "m",
        "--version",
        "1",
        "--redis-url",
        redis_url,
        "--artifacts",
        str(artifacts),
    )

    async def refusal(data: bytes | None) -> str:
        if data is None:
            file.unlink()
        else:
            file.write_bytes(data)
        code, said = await asyncio.to_thread(run, *command)
        assert code == 1
        assert "Traceback" not in said
        return said

    assert "is not the registered file" in await refusal(models.linear(5))
    assert "there is no model file" in await refusal(None)
    assert await leases(redis) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"PK\x03\x04", "zip"), (b"hello", "not an ONNX file"), (models.external(), "another file")],
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    file = tmp_path / "model"
    file.write_bytes(data)
    code, said = run("worker", "--model", "m", "--version", "1", "--model-file", str(file))
    assert code == 1
    assert reason in said
    assert said.count("\n") == 1


def test_without_redis_the_start_fails_with_the_reason(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/none.sock"
    code, said = run(
        "worker", "--model", "m", "--version", "1", "--redis-url", url, "--artifacts", str(tmp_path)
    )
    assert code == 1
    assert "Redis does not answer" in said
    assert said.count("\n") == 1


def test_a_port_in_use_and_an_open_address_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(models.linear())
    command = ("worker", "--model", "m", "--version", "1", "--model-file", str(file))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = run(*command, "--port", str(taken.getsockname()[1]))
    assert code == 1
    assert "in use" in said
    code, said = run(*command, "--host", "0.0.0.0")
    assert code == 1
    assert "--allow-unauthenticated" in said
    code, said = run(*command, "--host", "0.0.0.0", "--allow-unauthenticated")
    assert code == 1
    assert "--advertise-host" in said


async def test_a_worker_told_to_end_while_it_loads_ends(
    tmp_path: Path, redis: Any, start_leased: Starts
) -> None:
    await register(redis, tmp_path / "artifacts", models.slow(30_000))
    worker = start_leased()
    await lease_in(redis, WorkerState.STARTING)
    status, headers, _ = await ask(worker.port, request(infer_body([1.0])))
    assert (status, headers["turnout-error"]) == (503, "not_ready")
    assert await asyncio.to_thread(worker.end) == 0
    assert await leases(redis) == []
