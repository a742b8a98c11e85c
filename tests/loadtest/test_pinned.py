"""What `turnout bench versions` measures with: a small client, and the metrics of workers."""

import asyncio
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from gateway.cli.bench.workers import others_per_second, used
from gateway.cli.client import ControlClient
from gateway.contract.errors import TurnoutError
from gateway.loadtest.pinned import measure
from tests.dataplane.conftest import Turnout, turnout
from tests.scripted import Call, ScriptedWorker
from tests.sockets import free_port

__all__ = ["turnout"]


async def echo(call: Call) -> None:
    call.writer.write(call.answer(b'{"outputs":[],"was":' + call.body + b"}"))


async def measured(port: int, **options: Any) -> Any:
    return await measure(
        urlsplit(f"http://127.0.0.1:{port}"),
        "/v2/models/digits/versions/1/infer",
        [b"1", b"2", b"3"],
        **{"requests": 10, "connections": 2, "timeout_s": 5.0, "headers": {}, **options},
    )


async def test_every_input_is_sent_in_turn_and_its_first_answer_kept(turnout: Turnout) -> None:
    await turnout.route(split=[{"version": "2", "weight": 100}])
    worker = await turnout.worker(echo)
    await turnout.start()
    await turnout.has_workers(1)
    found = await measured(turnout.port)
    assert (len(found.latencies_ms), found.errors.total(), len(worker.calls)) == (10, 0, 10)
    assert {place: body[-2:-1] for place, body in found.answers.items()} == {0: b"1", 1: b"2", 2: b"3"}
    assert found.seconds > 0


async def test_failures_are_counted_by_kind_and_nothing_goes_on_for_ever(turnout: Turnout) -> None:
    await turnout.route()
    await turnout.start()
    assert (await measured(turnout.port)).errors == {"503 no_workers": 10}
    assert (await measured(free_port())).errors == {"refused": 10}


async def silent(call: Call) -> None:
    await asyncio.sleep(60)


async def test_an_answer_that_does_not_come_is_a_timeout() -> None:
    worker = await ScriptedWorker(silent).start()
    try:
        found = await measured(worker.port, requests=2, timeout_s=0.05)
        assert found.errors == {"timeout": 2}
    finally:
        await worker.stop()


class Pools:
    """A control API that knows one pool."""

    def __init__(self, *ports: int, ready: int = 1) -> None:
        workers = [{"worker_id": f"w{port}", "address": f"127.0.0.1:{port}"} for port in ports]
        self.pools = [{"model": "digits", "version": "1", "ready": ready, "workers": workers}]

    def get(self, *path: str) -> dict[str, Any]:
        return {"pools": self.pools}


def client(*ports: int, ready: int = 1) -> ControlClient:
    return cast(ControlClient, Pools(*ports, ready=ready))


async def metrics(call: Call) -> None:
    """One more request each time that somebody looks."""
    text = (
        f'turnout_worker_requests_total{{outcome="ok"}} {5 + call.number}\n'
        'turnout_worker_requests_total{outcome="overloaded"} 2\n'
        f"turnout_worker_process_cpu_seconds_total {0.5 + call.number}\n"
    ).encode()
    call.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text))


async def test_workers_tell_what_they_did_and_who_else_asks_them() -> None:
    worker = await ScriptedWorker(metrics).start()
    try:
        first = await asyncio.to_thread(used, client(worker.port), "digits", "1")
        assert first is not None
        assert (first.requests, first.cpu_s) == (7, 0.5)
        others = await asyncio.to_thread(
            others_per_second, client(worker.port), "digits", ["1"], within_s=0.1
        )
        assert others == {"1": 10.0}
    finally:
        await worker.stop()


def test_of_workers_that_cannot_be_reached_nothing_is_known() -> None:
    assert used(client(free_port()), "digits", "1") is None


@pytest.mark.parametrize(("version", "code"), [("1", "no_workers"), ("2", "unknown_version")])
def test_a_version_that_cannot_be_measured_is_named(version: str, code: str) -> None:
    with pytest.raises(TurnoutError, match=f"version {version}") as found:
        used(client(ready=0), "digits", version)
    assert found.value.code == code
