"""The metrics of several processes are one truth: nothing is lost, nothing falls, nobody can hold it up."""

import asyncio
import contextlib
import socket
from pathlib import Path

import httpx2
import pytest

from gateway.observe.collect import Collector, serve_state
from gateway.observe.exposition import CONTENT_TYPE
from gateway.observe.http import serve_metrics
from gateway.observe.state import MetricsState
from tests.sockets import PATIENCE_S

RETRIES = ("turnout_retries_total", ("digits", "1"))
IN_FLIGHT = ("turnout_in_flight", ("digits", "1"))
PROCESSES = ("turnout_gateway_processes", ())


class Process:
    """A gateway process as far as its metrics go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.retries = 0
        self.in_flight = 0

    def metrics(self) -> MetricsState:
        state = MetricsState()
        state.count("turnout_retries_total", self.retries, "digits", "1")
        state.gauge("turnout_in_flight", self.in_flight, "digits", "1")
        return state

    def served(self) -> contextlib.AbstractAsyncContextManager[None]:
        return serve_state(self.path, self.metrics)


@pytest.fixture
def sockets(tmp_path: Path) -> list[Path]:
    return [tmp_path / f"{index}.sock" for index in range(3)]


async def test_all_processes_are_added_up(sockets: list[Path]) -> None:
    processes = [Process(path) for path in sockets]
    async with contextlib.AsyncExitStack() as stack:
        for number, process in enumerate(processes, 1):
            process.retries, process.in_flight = 10 * number, number
            await stack.enter_async_context(process.served())
        merged = await Collector(lambda: sockets).collect()
    assert merged.counters[RETRIES] == 60
    assert merged.gauges[IN_FLIGHT] == 6
    assert merged.gauges[PROCESSES] == 3


async def test_counters_never_fall_when_a_process_dies_and_another_takes_its_place(
    sockets: list[Path],
) -> None:
    collector = Collector(lambda: sockets[:1])
    first, second = Process(sockets[0]), Process(sockets[0])
    first.retries, first.in_flight = 5, 2
    async with first.served():
        assert (await collector.collect()).counters[RETRIES] == 5
    dead = await collector.collect()
    assert dead.counters[RETRIES] == 5
    assert IN_FLIGHT not in dead.gauges
    assert dead.gauges[PROCESSES] == 0
    second.retries = 1
    async with second.served():
        assert (await collector.collect()).counters[RETRIES] == 6
        second.retries = 3
        assert (await collector.collect()).counters[RETRIES] == 8


async def test_a_process_that_is_no_longer_listed_stays_counted_once(sockets: list[Path]) -> None:
    listed = list(sockets[:2])
    collector = Collector(lambda: listed)
    old, new = Process(sockets[0]), Process(sockets[1])
    old.retries, new.retries = 7, 1
    async with old.served(), new.served():
        assert (await collector.collect()).counters[RETRIES] == 8
        listed.remove(sockets[0])
        assert (await collector.collect()).counters[RETRIES] == 8
        new.retries = 2
        assert (await collector.collect()).counters[RETRIES] == 9


async def test_a_process_that_hangs_costs_half_a_second_and_keeps_its_counts(sockets: list[Path]) -> None:
    collector = Collector(lambda: sockets[:2], answer_s=0.5)
    well, hanging = Process(sockets[0]), Process(sockets[1])
    well.retries, hanging.retries = 1, 20
    async with well.served():
        async with hanging.served():
            assert (await collector.collect()).counters[RETRIES] == 21
        mute = socket.socket(socket.AF_UNIX)
        mute.bind(str(sockets[1]))
        mute.listen()
        with contextlib.closing(mute):
            async with asyncio.timeout(PATIENCE_S):
                merged = await collector.collect()
    assert merged.counters[RETRIES] == 21
    assert merged.gauges[PROCESSES] == 1


async def test_garbage_on_a_socket_harms_nobody_else(sockets: list[Path]) -> None:
    async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"process": 3')
        writer.close()

    server = await asyncio.start_unix_server(garbage, sockets[1])
    well = Process(sockets[0])
    well.retries = 4
    async with well.served(), server:
        merged = await Collector(lambda: sockets[:2]).collect()
    assert merged.counters[RETRIES] == 4


async def test_scrapes_at_the_same_time_agree(sockets: list[Path]) -> None:
    process = Process(sockets[0])
    process.retries = 9
    collector = Collector(lambda: sockets[:1])
    async with process.served():
        found = await asyncio.gather(*(collector.collect() for _ in range(10)))
    assert [state.counters[RETRIES] for state in found] == [9] * 10


async def test_a_socket_left_by_a_killed_process_is_replaced_and_is_private(sockets: list[Path]) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(sockets[0]))
    left.close()
    async with Process(sockets[0]).served():
        assert sockets[0].stat().st_mode & 0o777 == 0o600
    assert not sockets[0].exists()


async def test_the_metrics_port_serves_metrics_and_nothing_else() -> None:
    async def source() -> MetricsState:
        state = MetricsState()
        state.count("turnout_client_gone_total", 2)
        return state

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    server = await serve_metrics(listening, source)
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
            found = await client.get("/metrics")
            assert found.status_code == 200
            assert found.headers["content-type"] == CONTENT_TYPE
            assert "turnout_client_gone_total 2.0" in found.text
            assert (await client.get("/")).status_code == 404
            assert (await client.get("/metrics/../etc")).status_code == 404
            assert (await client.post("/metrics")).status_code == 405
    finally:
        await server.drain(grace_s=0, deadline_s=1)
