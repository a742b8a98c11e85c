"""Only a complete answer to this very attempt counts; everything else ends the connection."""

import asyncio
import gzip
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.upstream.outcome import Attempt, Failure
from gateway.upstream.pool import Pool
from gateway.wire.room import Room
from tests.scripted import DIGEST, Call, Script, ScriptedWorker, usual
from tests.sockets import eventually

Outcome = tuple[int, bytes] | Failure
HEAD = b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: worker\r\ncontent-length: 2\r\n"


class Waiter:
    """A receiver that remembers what it was told."""

    def __init__(self) -> None:
        self.connection: Attempt | None = None
        self.is_over = False
        self.outcomes: list[Outcome] = []
        self.room = Room()

    def on_plain(self, worker_us: int, output: bytes | None, body: bytes) -> None:
        self.outcomes.append((200, body))

    def on_reply(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.outcomes.append((status, body))

    def on_failure(self, failure: Failure) -> None:
        self.outcomes.append(failure)


class Bench:
    """One scripted worker behind one pool."""

    def __init__(self, worker: ScriptedWorker) -> None:
        self.worker = worker
        self.pool = Pool("digits", "1")
        self.pool.update([worker.lease()])

    @property
    def upstream(self) -> object:
        return self.pool.ready[0]

    async def ask(self) -> Outcome:
        waiter = Waiter()
        self.pool.ready[0].send(waiter, HEAD, b"{}")
        await eventually(lambda: waiter.outcomes)
        assert len(waiter.outcomes) == 1
        return waiter.outcomes[0]


Make = Callable[[Script], Awaitable[Bench]]


@pytest.fixture
async def bench() -> AsyncIterator[Make]:
    made: list[Bench] = []

    async def make(script: Script) -> Bench:
        made.append(Bench(await ScriptedWorker(script).start()))
        return made[-1]

    yield make
    for one in made:
        one.pool.update([])
        await one.worker.stop()


def framed(call: Call, head: bytes, body: bytes = b"{}") -> bytes:
    attempt = call.token + b";" + DIGEST[:12].encode()
    return b"HTTP/1.1 200 OK\r\nturnout-attempt: " + attempt + b"\r\n" + head + b"\r\n" + body


async def test_answers_come_back_over_one_kept_connection(bench: Make) -> None:
    made = await bench(usual)
    for _ in range(5):
        assert await made.ask() == (200, b'{"outputs":[]}')
    assert made.worker.connections == 1
    assert made.pool.in_flight == 0


async def test_an_answer_in_any_pieces_is_the_same(bench: Make) -> None:
    async def dribble(call: Call) -> None:
        for byte in call.answer():
            call.writer.write(bytes([byte]))
            await call.writer.drain()

    made = await bench(dribble)
    assert await made.ask() == (200, b'{"outputs":[]}')
    assert await made.ask() == (200, b'{"outputs":[]}')


async def test_a_chunked_answer_is_joined(bench: Make) -> None:
    async def chunked(call: Call) -> None:
        call.writer.write(framed(call, b"transfer-encoding: chunked\r\n", b"2\r\n{}\r\n1\r\n \r\n0\r\n\r\n"))

    assert await (await bench(chunked)).ask() == (200, b"{} ")


GARBAGE: dict[str, Callable[[Call], bytes]] = {
    "not HTTP": lambda call: b"hello\r\n\r\n",
    "no framing": lambda call: framed(call, b"content-type: text/html\r\n", b"<html>"),
    "two lengths": lambda call: framed(call, b"content-length: 2\r\ncontent-length: 2\r\n"),
    "a compressed body": lambda call: framed(
        call,
        b"content-encoding: gzip\r\ncontent-length: 33\r\n",
        gzip.compress(b"x" * 1000).ljust(33, b"x")[:33],
    ),
    "a redirect": lambda call: framed(
        call, b"location: http://127.0.0.1:1/\r\ncontent-length: 2\r\n"
    ).replace(b"200 OK", b"307 Temporary Redirect"),
    "a switch of protocols": lambda call: b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    "100 KB of headers": lambda call: framed(call, b"x-a: " + b"b" * 100_000 + b"\r\ncontent-length: 2\r\n"),
    "200 headers": lambda call: framed(
        call, b"".join(b"x-%d: b\r\n" % n for n in range(200)) + b"content-length: 2\r\n"
    ),
    "a flood of 1xx": lambda call: b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + call.answer(),
    "a body of a petabyte": lambda call: framed(call, b"content-length: 1000000000000000\r\n"),
    "a negative length": lambda call: framed(call, b"content-length: -2\r\n"),
}


@pytest.mark.parametrize("kind", GARBAGE)
async def test_what_is_not_an_answer_fails_the_attempt_and_the_connection(bench: Make, kind: str) -> None:
    async def evil(call: Call) -> None:
        call.writer.write(GARBAGE[kind](call) if call.number == 0 else call.answer())

    made = await bench(evil)
    assert await made.ask() is Failure.GARBAGE
    assert await made.ask() == (200, b'{"outputs":[]}')
    assert made.worker.connections == 2


@pytest.mark.parametrize(
    "attempt",
    [b"ffffffff;" + DIGEST[:12].encode(), b"", b"%b;eeeeeeeeeeee"],
    ids=["another attempt's token", "no token", "another version's digest"],
)
async def test_an_answer_to_another_attempt_or_of_another_version_is_a_mismatch(
    bench: Make, attempt: bytes
) -> None:
    async def evil(call: Call) -> None:
        told = attempt.replace(b"%b", call.token)
        line = b"turnout-attempt: " + told + b"\r\n" if told else b""
        call.writer.write(b"HTTP/1.1 200 OK\r\n" + line + b"content-length: 2\r\n\r\n{}")

    made = await bench(evil)
    assert await made.ask() is Failure.MISMATCH
    assert made.pool.in_flight == 0


async def test_a_second_answer_in_the_same_bytes_never_reaches_the_next_request(bench: Make) -> None:
    async def twice(call: Call) -> None:
        body = b'"answer %d"' % call.number
        call.writer.write(call.answer(body) + call.answer(b'"stray"'))

    made = await bench(twice)
    assert await made.ask() == (200, b'"answer 0"')
    assert await made.ask() == (200, b'"answer 1"')
    assert made.worker.connections == 2


async def test_a_late_second_answer_closes_the_idle_connection_and_is_counted(bench: Make) -> None:
    late = asyncio.Event()

    async def later(call: Call) -> None:
        call.writer.write(call.answer(b'"answer %d"' % call.number))
        if call.number == 0:
            await late.wait()
            call.writer.write(call.answer(b'"stray"'))

    made = await bench(later)
    assert await made.ask() == (200, b'"answer 0"')
    late.set()
    await eventually(lambda: made.pool.unsolicited)
    assert await made.ask() == (200, b'"answer 1"')
    assert made.pool.unsolicited == 1


async def test_a_kept_connection_closed_at_the_moment_of_reuse_is_stale_not_failed(bench: Make) -> None:
    async def close_second(call: Call) -> None:
        if call.number == 1:
            call.writer.close()
        else:
            call.writer.write(call.answer())

    made = await bench(close_second)
    assert await made.ask() == (200, b'{"outputs":[]}')
    assert await made.ask() is Failure.STALE


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_cut_inside_the_body_is_a_reset(bench: Make, how: str) -> None:
    async def cut(call: Call) -> None:
        call.writer.write(call.answer()[:-5])
        await call.writer.drain()
        if how == "close":
            call.writer.close()
        else:
            call.reset()

    assert await (await bench(cut)).ask() is Failure.RESET


async def test_a_closed_port_is_refused(bench: Make) -> None:
    made = await bench(usual)
    await made.worker.stop()
    assert await made.ask() is Failure.REFUSED
    assert made.pool.in_flight == 0


async def test_giving_up_closes_the_connection_so_that_the_worker_notices(bench: Make) -> None:
    noticed = asyncio.Event()

    async def hang(call: Call) -> None:
        await call.writer.drain()
        await eventually(call.writer.transport.is_closing)
        noticed.set()

    made = await bench(hang)
    waiter = Waiter()
    made.pool.ready[0].send(waiter, HEAD, b"{}")
    await eventually(lambda: made.worker.calls)
    waiter.is_over = True
    assert waiter.connection is not None
    waiter.connection.abandon()
    assert made.pool.in_flight == 0
    assert waiter.outcomes == []


async def test_a_worker_nearby_is_reached_by_its_unix_socket_and_refused_when_it_is_gone() -> None:
    worker = await ScriptedWorker().start()
    name = f"turnout-test-{os.getpid()}-{worker.port}"
    server = await asyncio.start_unix_server(worker._serve, path=f"\0{name}")
    pool = Pool("digits", "1")
    pool.update([worker.lease().model_copy(update={"near": name, "port": 1})])
    bench = Bench.__new__(Bench)
    bench.worker, bench.pool = worker, pool
    assert await bench.ask() == (200, b'{"outputs":[]}')
    server.close()
    await worker.stop()
    await eventually(lambda: not pool.ready[0].idle)
    assert await bench.ask() is Failure.REFUSED
    pool.update([])
