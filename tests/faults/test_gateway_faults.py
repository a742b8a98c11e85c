"""A gateway process that is stopped for a while, or has no file descriptors left."""

import asyncio
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx2

from gateway.contract.access import digest_of, new_token
from gateway.control.app import build_app
from gateway.control.settings import ControlSettings
from tests.dataplane.conftest import Turnout
from tests.faults.conftest import Gateway, StartGateway, request, until_predicts
from tests.scripted import Call, double, doubled
from tests.sockets import PATIENCE_S, Raw, ask, eventually

# A prediction that is answered, with its number: (its status, whether the answer was its own, seconds).
Told = tuple[int, bool, float]


@dataclass
class Clients:
    """Keep-alive clients, each with one request at a time; nothing is hidden by a second try."""

    port: int
    told: list[Told] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)
    is_ending: bool = False

    async def one(self) -> None:
        raw = await Raw.open(self.port)
        while not self.is_ending:
            number = next(self.numbers)
            started = time.perf_counter()
            raw.send(request(b"%d" % number))
            status, _, body = await raw.reply()
            is_own = status == 200 and body == doubled(b"%d" % number)
            self.told.append((status, is_own, time.perf_counter() - started))
        raw.close()


@asynccontextmanager
async def predicting(port: int, *, connections: int) -> AsyncIterator[Clients]:
    clients = Clients(port)
    tasks = [asyncio.create_task(clients.one()) for _ in range(connections)]
    yield clients
    clients.is_ending = True
    await asyncio.gather(*tasks)


async def test_a_gateway_stopped_for_two_seconds_is_late_and_blames_nobody_else(
    turnout: Turnout, start_gateway: StartGateway
) -> None:
    """Answers that came while it could not read them are older than their deadline, but they are there."""
    is_open = asyncio.Event()

    async def gated(call: Call) -> None:
        await is_open.wait()
        await double(call)

    await turnout.route(timeout_s=1.5)
    workers = [await turnout.worker(double) for _ in range(2)]
    gateway = await start_gateway()
    await until_predicts(gateway.port)
    async with predicting(gateway.port, connections=16) as clients:
        await eventually(lambda: len(clients.told) > 100)
        asked = len(workers[0].calls) + len(workers[1].calls)
        workers[0].script = workers[1].script = gated
        await eventually(lambda: len(workers[0].calls) + len(workers[1].calls) == asked + 16)
        os.kill(gateway.pid, signal.SIGSTOP)
        await asyncio.sleep(0.2)  # its timer is due now: deadlines are looked at before the sockets
        is_open.set()
        await asyncio.sleep(1.8)
        before = len(clients.told)
        os.kill(gateway.pid, signal.SIGCONT)
        await eventually(lambda: len(clients.told) > before + 200)
    assert {(status, is_own) for status, is_own, _ in clients.told} == {(200, True)}
    assert sum(took_s > 1.9 for _, _, took_s in clients.told) == 16
    assert await gateway.metric("turnout_ejections_total") == 0


async def test_a_stopped_gateway_does_not_take_its_own_stop_for_a_slow_client(
    turnout: Turnout, start_gateway: StartGateway
) -> None:
    await turnout.route()
    await turnout.worker(double)
    gateway = await start_gateway(head_s=1.0, body_s=1.0)
    await until_predicts(gateway.port)
    clients = [await Raw.open(gateway.port) for _ in range(20)]
    sent = request(b"21")
    for number, raw in enumerate(clients):
        raw.send(sent[:30] if number % 2 else sent[:-1])
    await asyncio.sleep(0.05)
    os.kill(gateway.pid, signal.SIGSTOP)
    await asyncio.sleep(1.0)
    for number, raw in enumerate(clients):
        raw.send(sent[30:] if number % 2 else sent[-1:])
    await asyncio.sleep(0.2)
    os.kill(gateway.pid, signal.SIGCONT)
    assert {(await raw.reply())[::2] for raw in clients} == {(200, doubled(b"21"))}
    for raw in clients:
        raw.close()


async def test_a_gateway_without_descriptors_goes_on_for_those_it_has(
    turnout: Turnout, start_gateway: StartGateway
) -> None:
    """New connections wait or are refused; the process neither spins nor ends, and recovers by itself."""
    gateway, old = await scarce(turnout, start_gateway, clients=8, spare=10)
    more = [await Raw.open(gateway.port) for _ in range(50)]  # by the kernel, not yet by the gateway
    await eventually(lambda: gateway.descriptors >= gateway.most_descriptors - 1)
    for number in range(100):
        assert await told(old, number) == {(200, doubled(b"%d" % number))}
    assert sum(await asyncio.gather(*map(is_unserved, more))) >= 35

    cpu_s, since = gateway.cpu_s, time.monotonic()
    await asyncio.sleep(1)
    assert gateway.cpu_s - cpu_s < 0.3 * (time.monotonic() - since)
    for raw in more:
        raw.close()
    await eventually_predicts(gateway.port)
    assert await told(old, 7) == {(200, doubled(b"7"))}
    for raw in old:
        raw.close()


async def test_a_gateway_without_descriptors_is_overloaded_and_blames_no_worker(
    turnout: Turnout, start_gateway: StartGateway
) -> None:
    """There are more clients than connections to workers, and no descriptor for another one."""
    gateway, old = await scarce(turnout, start_gateway, clients=4, spare=8)
    more = [await Raw.open(gateway.port) for _ in range(8)]
    await eventually(lambda: gateway.descriptors >= gateway.most_descriptors - 1)
    turnout.workers[0].script = slow_double
    statuses = {status for _ in range(5) for status, _ in await told([*old, *more], 7)}
    for raw in (*old, *more):
        raw.close()
    assert statuses == {200, 503}


async def slow_double(call: Call) -> None:
    await asyncio.sleep(0.02)
    await double(call)


async def scarce(
    turnout: Turnout, start_gateway: StartGateway, *, clients: int, spare: int
) -> tuple[Gateway, list[Raw]]:
    """A gateway that may open `spare` descriptors more; each client has its connection to the worker."""
    await turnout.route()
    worker = await turnout.worker(double)
    gateway = await start_gateway()
    await until_predicts(gateway.port)
    raws = [await Raw.open(gateway.port) for _ in range(clients)]
    worker.script = slow_double
    while len(worker.writers) < clients:
        await told(raws, 1)
    worker.script = double
    gateway.most_descriptors = gateway.descriptors + spare
    _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (gateway.most_descriptors, hard))
    return gateway, raws


async def told(raws: list[Raw], number: int) -> set[tuple[int, bytes]]:
    """Status and body of one prediction over each connection, all at once."""
    for raw in raws:
        raw.send(request(b"%d" % number))
    return {(await raw.reply())[::2] for raw in raws}


async def is_unserved(raw: Raw) -> bool:
    """No answer came within a moment: it waits, or it was refused."""
    raw.send(request(b"1"))
    try:
        return (await raw.reply(within_s=0.5))[0] != 200
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
        return True


async def eventually_predicts(port: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        raw = await Raw.open(port)
        is_served = not await is_unserved(raw)
        raw.close()
        if is_served:
            return
        assert time.monotonic() < until


async def test_what_a_gateway_refuses_for_want_of_a_key_is_told_in_the_status(
    turnout: Turnout, start_gateway: StartGateway, tmp_path: Path
) -> None:
    await turnout.route()
    gateway = await start_gateway()
    token = new_token()
    admin = {"name": "root", "role": "admin", "digest": digest_of(token.text)}
    await turnout.commit({f"key/{token.key_id}": admin, "access": {"admins": 1}})
    async with asyncio.timeout(20):
        while (await ask(gateway.port, request()))[0] != 401:
            await asyncio.sleep(0.01)
    app = build_app(ControlSettings(redis_url=turnout.url, artifacts_dir=tmp_path, data_dir=tmp_path))
    headers = {"authorization": f"Bearer {token.text.decode()}"}
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8090") as client:
        async with asyncio.timeout(20):
            while not (status := (await client.get("/api/v1/status", headers=headers)).json())["refused"]:
                await asyncio.sleep(0.05)
    await app.state.parts.aclose()
    assert status["refused"] == {"unauthenticated": 1}
    assert any("1 request was refused in the last minute: they had no" in one for one in status["problems"])
