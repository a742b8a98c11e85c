"""Workers that die, hang, lie or answer late: another one answers, or the client hears what happened."""

import asyncio
import gzip
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import orjson
import pytest

from gateway.contract import keys
from gateway.upstream.connection import Connection
from gateway.upstream.outcome import Failure
from loadtests.client import Load
from tests.dataplane.conftest import Turnout
from tests.faults.conftest import PATH, begin, proxied, request
from tests.proxy import End, Proxy, Way, Ways
from tests.scripted import DIGEST, Call, Script, double, doubled, until_closed, usual
from tests.sockets import Raw, ask, eventually, free_port
from tests.upstream.test_connection import GARBAGE, Make, bench, framed
from tests.workers import models
from tests.workers.processes import Running, infer_body, register, start

__all__ = ["bench"]

# -- answers that are none ----------------------------------------------------------------------------------


async def test_trailers_of_an_answer_never_become_its_headers(bench: Make) -> None:
    async def told_late(call: Call) -> None:
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        call.writer.write(head + b"turnout-attempt: %b;%b\r\n\r\n" % (call.token, DIGEST[:12].encode()))

    assert await (await bench(told_late)).ask() is Failure.MISMATCH


ENDLESS = {
    "trailers": b"2\r\n{}\r\n0\r\n" + b"".join(b"x-%d: b\r\n" % n for n in range(100_000)),
    "one trailer": b"2\r\n{}\r\n0\r\nx-a: " + b"b" * 800_000,
    "a chunk's extension": b"2;a=" + b"b" * 800_000,
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_an_answer_of_endless_framing_is_garbage(bench: Make, kind: str) -> None:
    async def endless(call: Call) -> None:
        call.writer.write(framed(call, b"transfer-encoding: chunked\r\n", ENDLESS[kind]))
        await until_closed(call)

    assert await (await bench(endless)).ask() is Failure.GARBAGE


def short(call: Call) -> bytes:
    return framed(call, b"content-length: 2\r\n", b"{}, and more")


def of_another_version(call: Call) -> bytes:
    return call.answer().replace(DIGEST[:12].encode(), b"e" * 12)


def of_another_attempt(call: Call) -> bytes:
    return call.answer().replace(call.token + b";", b"ffff;")


def bomb(call: Call) -> bytes:
    packed = gzip.compress(bytes(10_000_000))
    return framed(call, b"content-encoding: gzip\r\ncontent-length: %d\r\n" % len(packed), packed)


# What a worker writes before it closes the connection.
LIES: dict[str, Callable[[Call], bytes]] = GARBAGE | {
    "a length that is too short": short,
    "a length that is too long": lambda call: framed(call, b"content-length: 200\r\n"),
    "no length": lambda call: framed(call, b""),
    "nothing": lambda call: b"",
    "half a head": lambda call: call.answer()[:40],
    "a bomb": bomb,
    "another version's digest": of_another_version,
    "another attempt's token": of_another_attempt,
    "nonsense behind the answer": lambda call: call.answer() + call.answer()[:20] + b"\x00",
}


def liar(lie: Callable[[Call], bytes]) -> Script:
    async def script(call: Call) -> None:
        call.writer.write(lie(call))
        call.writer.close()

    return script


async def test_no_lie_of_a_worker_reaches_a_client(turnout: Turnout) -> None:
    """Alone it is 502; beside an honest worker nobody notices."""
    await begin(turnout, usual)
    worker = turnout.workers[0]
    seen: dict[str, tuple[int, str | None]] = {}
    for name, lie in LIES.items():
        worker.script = liar(lie)
        status, headers, body = await turnout.infer()
        if (status, headers.get("turnout-error"), list(body)) != (502, "bad_upstream", ["error"]):
            seen[name] = (status, headers.get("turnout-error"))
    assert seen == {}


async def test_beside_an_honest_worker_nobody_notices_a_liar(turnout: Turnout) -> None:
    await begin(turnout, usual, usual, retry={"attempts": 2, "budget_percent": 100})
    pool = turnout.process.pools.get("digits", "1")
    for lie in LIES.values():
        turnout.workers[0].script = liar(lie)
        for worker in pool.workers.values():
            worker.failures = 0
        statuses = Counter([(await turnout.infer())[0] for _ in range(4)])
        assert statuses == {200: 4}


# -- connections that end at the wrong moment ---------------------------------------------------------------


async def test_connections_closed_at_the_moment_of_reuse_lose_no_request(
    turnout: Turnout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's FIN and the gateway's next request leave within the same few turns of one loop."""
    stale = Counter[Failure]()
    fail = Connection._fail

    def counted(self: Connection, failure: Failure) -> None:
        stale[failure] += self.receiver is not None
        fail(self, failure)

    monkeypatch.setattr(Connection, "_fail", counted)
    await begin(turnout, double)
    worker, random = turnout.workers[0], Random(1)
    raw = await Raw.open(turnout.port)

    async def close_idle(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        for writer in list(worker.writers):
            writer.close()

    for number in range(400):
        closing = asyncio.create_task(close_idle(random.randrange(6)))
        for _ in range(random.randrange(3)):
            await asyncio.sleep(0)
        raw.send(request(b"%d" % number))
        status, _, body = await raw.reply()
        assert (status, body) == (200, doubled(b"%d" % number))
        await closing
    raw.close()
    assert stale[Failure.STALE] > 20  # the race was met
    assert set(stale) <= {Failure.STALE, Failure.RESET}
    assert turnout.process.tallies.retries["digits", "1"] == stale[Failure.RESET]


@pytest.mark.parametrize("end", list(End))
async def test_an_answer_cut_on_its_way_comes_from_the_other_worker(
    turnout: Turnout, proxies: list[Proxy], end: End
) -> None:
    """Cut after each number of bytes of the answer in turn: in its first line, its head, its body."""

    def cut(number: int, random: Random) -> Ways:
        return Way(), Way(end_after_bytes=1 + 11 * number, end=end)

    await begin(turnout, double, retry={"attempts": 2, "budget_percent": 100}, timeout_s=10.0)
    proxy = await proxied(turnout, proxies, double, cut, seed=1)
    await turnout.has_workers(2)
    pool = turnout.process.pools.get("digits", "1")
    for number in range(80):
        pool.workers["w1"].failures = 0
        status, _, body = await turnout.post(PATH, b"%d" % number)
        assert (status, orjson.dumps(body)) == (200, doubled(b"%d" % number))
    assert proxy.ends > 10


# -- answers that come too late -----------------------------------------------------------------------------


async def test_an_answer_after_the_deadline_reaches_nobody(turnout: Turnout, proxies: list[Proxy]) -> None:
    def late_at_first(number: int, random: Random) -> Ways:
        return Way(), Way(delay_s=0.4 if number < 3 else 0.0)

    await turnout.route()
    proxy = await proxied(turnout, proxies, double, late_at_first, seed=1)
    await turnout.start()
    raw = await Raw.open(turnout.port)
    for number in range(3):
        raw.send(request(b"%d" % number, more=b"turnout-timeout-ms: 100\r\n"))
        status, headers, _ = await raw.reply()
        assert (status, headers["turnout-error"]) == (504, "deadline")
    late = asyncio.create_task(asyncio.sleep(0.5))  # the three answers are still on their way
    number = 3
    while number <= 10 or not late.done():
        raw.send(request(b"%d" % number))
        status, _, body = await raw.reply()
        assert (status, body) == (200, doubled(b"%d" % number))
        number += 1
    assert proxy.connections == 4
    raw.close()


async def test_the_connection_of_a_worker_that_has_left_ends_with_its_last_answer(bench: Make) -> None:
    is_open = asyncio.Event()

    async def gated(call: Call) -> None:
        await is_open.wait()
        await usual(call)

    made = await bench(gated)
    asking = asyncio.create_task(made.ask())
    await eventually(lambda: made.worker.calls)
    made.pool.update([])
    is_open.set()
    assert await asking == (200, b'{"outputs":[]}')
    await eventually(lambda: not made.worker.writers)


# -- canaries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fallback", [None, "1"])
async def test_the_death_of_every_worker_of_a_canary_costs_the_stable_share_nothing(
    turnout: Turnout, fallback: str | None
) -> None:
    split = [{"version": "1", "weight": 80}, {"version": "2", "weight": 20}]
    await begin(turnout, usual, split=split, fallback=fallback)
    canaries = [await turnout.worker(version="2") for _ in range(2)]
    await turnout.has_workers(2, version="2")
    for canary in canaries:
        turnout.workers.remove(canary)
        await canary.stop()
    stable, leased = (200, "1", "weight"), (502, "2", "bad_upstream")
    instead, gone = (200, "1", "fallback"), (503, "2", "no_workers")
    # Their leases last for some seconds more.
    assert set(await asked(turnout)) <= ({stable, instead} if fallback else {stable, leased, gone})

    for canary in canaries:
        await turnout.redis.hdel(keys.WORKERS, canary.name)
    turnout.process.follower.reachable_since = 0.0  # else it waits for leases to come back, as after a start
    await turnout.has_workers(0, version="2")
    canary_share = instead if fallback else gone
    outcomes = await asked(turnout)
    assert set(outcomes) == {stable, canary_share}
    assert 10 < outcomes[canary_share] < 80


async def asked(turnout: Turnout) -> Counter[tuple[int, str, str]]:
    """Of 200 requests: status, version, error or reason."""
    outcomes: Counter[tuple[int, str, str]] = Counter()
    for _ in range(200):
        status, headers, _ = await turnout.infer()
        error_or_reason = headers.get("turnout-error", headers["turnout-reason"])
        outcomes[status, headers["turnout-version"], error_or_reason] += 1
    return outcomes


# -- real worker processes ----------------------------------------------------------------------------------


@pytest.fixture
def processes() -> Iterator[list[Running]]:
    started: list[Running] = []
    yield started
    for each in started:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGCONT)
        each.cleanup()


async def real_workers(turnout: Turnout, processes: list[Running], model: bytes, timeout_s: float) -> None:
    """A gateway and two worker processes of version 1 of `m`."""
    artifacts: Path = turnout.data_dir / "artifacts"
    await register(turnout.redis, artifacts, model)
    route = {"model": "m", "split": [{"version": "1", "weight": 100}], "timeout_s": timeout_s}
    await turnout.commit({"route/m": route})
    for name in ("w0", "w1"):
        port = free_port()
        options = ("--model", "m", "--version", "1", "--worker-id", name, "--port", str(port))
        places = ("--redis-url", turnout.url, "--artifacts", str(artifacts))
        processes.append(start(turnout.data_dir / f"{name}.log", "worker", *options, *places, port=port))
    await turnout.start()
    pool = turnout.process.pools.get("m", "1")
    await eventually(lambda: len(pool.ready) == 2)


def number_request(number: int) -> bytes:
    body = infer_body([float(number)])
    return b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_a_worker_process_killed_with_20_requests_in_flight_fails_none_of_them(
    turnout: Turnout, processes: list[Running]
) -> None:
    await real_workers(turnout, processes, models.slow(1000), timeout_s=100)
    pool = turnout.process.pools.get("m", "1")

    async def one(number: int) -> tuple[int, bool]:
        status, _, body = await ask(turnout.port, number_request(number))
        return status, status == 200 and orjson.loads(body)["outputs"][0]["data"] == [float(number)]

    asking = [asyncio.create_task(one(number)) for number in range(60)]
    await eventually(lambda: pool.workers["w0"].in_flight >= 20)
    processes[0].process.kill()
    assert set(await asyncio.gather(*asking)) == {(200, True)}
    assert turnout.process.tallies.retries["m", "1"] >= 10


async def test_a_stopped_worker_process_is_left_alone_at_its_deadlines_and_comes_back(
    turnout: Turnout, processes: list[Running]
) -> None:
    await real_workers(turnout, processes, models.linear(), timeout_s=1.0)
    pool = turnout.process.pools.get("m", "1")
    body = infer_body([1, 2, 3, 4], name="X", shape=[1, 4])
    async with Load(turnout.port, "/v2/models/m/infer", [body], connections=4) as seen:
        await eventually(lambda: len(seen.replies) > 100)
        processes[0].process.send_signal(signal.SIGSTOP)
        await eventually(lambda: pool.workers["w0"].is_ejected)
        ejected_after = len(seen.replies)
        await eventually(lambda: len(seen.replies) > ejected_after + 200)
        processes[0].process.send_signal(signal.SIGCONT)
        await eventually(lambda: len(pool.ready) == 2)
    assert seen.failures() == {504: seen.failures()[504]}
    assert 3 <= seen.failures()[504] <= 8  # three in a row, and what was on its way besides
    assert pool.ejections == 1
