"""Clients that send what they should not, stop, dawdle or leave: refused or closed in time."""

import asyncio
import resource
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress

import orjson
import pytest

from gateway.wire.limits import Limits
from gateway.wire.protocol import HttpProtocol
from gateway.wire.reading import Reading
from gateway.wire.server import HttpServer
from loadtests.client import Load
from tests.dataplane.conftest import Turnout
from tests.faults.conftest import PATH, Gateway, StartGateway, begin, request, until_predicts
from tests.scripted import Call, double, doubled, hang, usual
from tests.sockets import PATIENCE_S, Raw, ask, eventually, free_socket
from tests.wire.conftest import Echo, Start, app

CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def echo(body: bytes) -> bytes:
    return b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


# -- framing ------------------------------------------------------------------------------------------------


async def test_a_pipelined_head_is_not_charged_with_the_body_before_it(serve: Start) -> None:
    server = await serve()
    raw = await Raw.open(server.port)
    second = echo(b"second")
    raw.send(echo(b"x" * 100_000) + second[:30])
    assert (await raw.reply())[0] == 200
    raw.send(second[30:])
    status, _, body = await raw.reply()
    assert (status, orjson.loads(body)["body"]) == (200, "second")
    raw.close()


async def test_a_long_head_begun_behind_another_request_is_refused(serve: Start) -> None:
    server = await serve()
    raw = await Raw.open(server.port)
    raw.send(echo(b"first") + b"POST /echo HTTP/1.1\r\nHost: x\r\nX-A: " + b"b" * 40_000)
    assert (await raw.reply())[0] == 200
    raw.send(b"b" * 10_000 + b"\r\nContent-Length: 0\r\n\r\n")
    assert (await raw.reply())[0] == 431
    raw.close()


async def test_trailers_never_become_headers(serve: Start) -> None:
    server = await serve()
    trailers = b"Host: evil\r\nturnout-unit: evil\r\nContent-Encoding: gzip\r\n"
    status, _, body = await ask(server.port, CHUNKED + b"3\r\nabc\r\n0\r\n" + trailers + b"\r\n")
    assert (status, orjson.loads(body)) == (
        200,
        {"headers": {"host": "x", "transfer-encoding": "chunked"}, "body": "abc"},
    )


ENDLESS = {
    "trailers": b"3\r\nabc\r\n0\r\n" + b"x-a: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n" * 20_000,
    "one trailer": b"3\r\nabc\r\n0\r\nx-a: " + b"b" * 800_000,
    "a chunk's extension": b"3;a=" + b"b" * 800_000,
    "a chunk's size": b"0" * 800_000,
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_framing_without_end_is_refused(serve: Start, kind: str) -> None:
    server = await serve()
    raw = await Raw.open(server.port)
    raw.send(CHUNKED)
    raw.send(ENDLESS[kind])
    assert (await raw.reply())[0] == 400
    raw.reset()


async def test_a_body_in_crumbs_takes_little_more_memory_than_it_holds(serve: Start) -> None:
    server = await serve()
    raw = await Raw.open(server.port)
    raw.send(CHUNKED)
    raw.send(b"2\r\nab\r\n" * 200_000)
    (connection,) = await _connections(server, 1)
    await eventually(lambda: connection.reading and connection.reading.body.size == 400_000)
    assert connection.reading is not None
    assert len(connection.reading.body.chunks) < 2_000
    raw.send(b"0\r\n\r\n")
    assert orjson.loads((await raw.reply())[2])["body"] == "ab" * 200_000
    raw.close()


async def _connections(server: HttpServer, count: int) -> list[HttpProtocol]:
    await eventually(lambda: len(server.connections) == count)
    return list(server.connections)


# -- clients that do not read -------------------------------------------------------------------------------


class Deaf:
    """A client that sends, and reads only what the test reads; small buffers on both sides."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    async def connect(cls, port: int) -> "Deaf":
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return cls(sock)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def close(self) -> None:
        self.sock.close()

    def read_a_byte(self) -> None:
        with suppress(BlockingIOError, ConnectionError):
            self.sock.recv(1)


Narrow = Callable[[Limits], Awaitable[HttpServer]]


@pytest.fixture
async def narrow() -> AsyncIterator[Narrow]:
    """Starts servers whose kernel buffers are small, so that few bytes are enough not to be read."""
    servers: list[HttpServer] = []

    async def start(limits: Limits) -> HttpServer:
        server = HttpServer(type("Echoing", (Echo,), {"held": [], "gone": []}), app, limits=limits)
        await server.start(narrow_socket())
        servers.append(server)
        return server

    yield start
    for server in servers:
        for connection in list(server.connections):
            connection.transport.abort()
        await server.drain(grace_s=0, deadline_s=1)


def narrow_socket() -> socket.socket:
    sock = free_socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return sock


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"], ids=["kept alive", "closed"])
@pytest.mark.parametrize("size", [40_000, 1_000_000], ids=["in the buffer", "over the buffer"])
async def test_a_client_that_does_not_read_its_reply_is_cut_off(
    narrow: Narrow, size: int, more: bytes
) -> None:
    """40 kB stay below the mark at which the loop says that writing is blocked."""
    server = await narrow(Limits(write_s=0.5, keep_alive_s=0.5))
    client = await Deaf.connect(server.port)
    await client.send(echo(b"x" * size).replace(b"Host: x\r\n", b"Host: x\r\n" + more))
    (connection,) = await _connections(server, 1)
    await eventually(lambda: connection.served == 1)
    await eventually(lambda: not server.connections)
    client.close()


async def are_cut_off(gateway: Gateway, clients: list[Deaf], *, within_s: float) -> bool:
    """Whether the gateway closes all of them. (What the kernel holds, they may go on reading for long.)"""
    until = time.monotonic() + within_s
    while gateway.clients:
        if time.monotonic() > until:
            return False
        for client in clients:
            client.read_a_byte()
        await asyncio.sleep(0.05)
    return True


ANSWER_BYTES = 4_000_000


async def big(call: Call) -> None:
    call.writer.write(call.answer(b'"%b"' % (b"x" * ANSWER_BYTES)))


@pytest.mark.parametrize("write_s", [0.5, 600.0], ids=["with the limit", "without it"])
async def test_clients_that_read_a_byte_now_and_then_are_cut_off_and_hold_one_answer_each(
    turnout: Turnout, start_gateway: StartGateway, write_s: float
) -> None:
    await turnout.route()
    await turnout.worker(big)
    gateway = await start_gateway(write_s=write_s)
    await until_predicts(gateway.port)
    before = gateway.rss_bytes
    clients = [await Deaf.connect(gateway.port) for _ in range(10)]
    for client in clients:
        await client.send(request() * 20)  # nineteen more answers than it reads
    await eventually(lambda: len(turnout.workers[0].calls) >= 11)
    has_limit = write_s < 1
    assert await are_cut_off(gateway, clients, within_s=PATIENCE_S if has_limit else 3) == has_limit
    assert len(turnout.workers[0].calls) <= 1 + 2 * len(clients)
    assert gateway.rss_bytes - before < 3 * len(clients) * ANSWER_BYTES
    assert (await ask(gateway.port, request()))[0] == 200
    for client in clients:
        client.close()


# -- clients that leave -------------------------------------------------------------------------------------


async def test_a_client_that_leaves_inside_its_body_costs_no_worker_anything(turnout: Turnout) -> None:
    await begin(turnout, usual)
    raw = await Raw.open(turnout.port)
    raw.send(request(b"x" * 100_000)[:-1])
    (connection,) = await _connections(turnout.process.server, 1)
    await eventually(lambda: connection.reading and connection.reading.body.size == 99_999)
    raw.reset()
    await eventually(lambda: not turnout.process.server.connections)
    assert (turnout.workers[0].calls, turnout.process.tallies.client_gone) == ([], 0)


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_worker_sees_at_once_that_its_client_has_left(turnout: Turnout, how: str) -> None:
    seen = asyncio.Event()

    async def notice(call: Call) -> None:
        await hang(call)
        seen.set()

    await begin(turnout, notice)
    raw = await Raw.open(turnout.port)
    raw.send(request())
    await eventually(lambda: turnout.workers[0].calls)
    raw.reset() if how == "reset" else raw.close()
    await eventually(seen.is_set)
    assert turnout.process.pools.get("digits", "1").in_flight == 0


# -- many at once -------------------------------------------------------------------------------------------


async def test_a_thousand_pipelined_predictions_are_answered_in_order(turnout: Turnout) -> None:
    await begin(turnout, double, double)
    raw = await Raw.open(turnout.port)
    raw.send(b"".join(request(b"%d" % number, more=b"X-Filler: 123456\r\n") for number in range(1000)))
    for number in range(1000):
        status, _, body = await raw.reply()
        assert (status, body) == (200, doubled(b"%d" % number))
    raw.close()


async def test_a_thousand_slow_connections_cost_nobody_else_a_request(
    turnout: Turnout, start_gateway: StartGateway, many_descriptors: None
) -> None:
    await turnout.route()
    await turnout.worker()
    gateway = await start_gateway(head_s=1.0, body_s=1.0)
    await until_predicts(gateway.port)
    begun = (b"", request()[:20], request(b"x" * 1000)[:-10], b"")
    started = time.monotonic()
    slow = [await Raw.open(gateway.port) for _ in range(1000)]
    for number, raw in enumerate(slow):
        raw.send(begun[number % 4])
    dripping = asyncio.create_task(_drip(slow[3::4]))
    async with Load(gateway.port, PATH, [b"{}"], connections=4) as seen:
        said = await asyncio.gather(*(raw.end() for raw in slow))
        took_s = time.monotonic() - started
        await eventually(lambda: len(seen.replies) > 100)
    dripping.cancel()
    assert seen.failures() == Counter()
    assert {reply[:12] for reply in said} == {b"", b"HTTP/1.1 408"}
    assert took_s >= 1.0
    await eventually(lambda: gateway.descriptors < 100)


async def _drip(raws: list[Raw]) -> None:
    """A byte of a head now and then from each."""
    for byte in request():
        for raw in raws:
            if not raw.writer.is_closing():
                raw.send(bytes([byte]))
        await asyncio.sleep(0.1)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- requests that could be read in two ways ----------------------------------------------------------------

LINE = b"POST " + PATH.encode() + b" HTTP/1.1\r\n"
OLD = b"POST " + PATH.encode() + b" HTTP/1.0\r\n"
HOST = b"Host: x\r\n"
END = b"0\r\n\r\n"
SHAPES = {
    "CL and TE": LINE + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + END,
    "TE and CL": LINE + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + END,
    "two CL that differ": LINE + HOST + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
    "two CL that agree": LINE + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "CL with a sign": LINE + HOST + b"Content-Length: +3\r\n\r\nabc",
    "CL below zero": LINE + HOST + b"Content-Length: -3\r\n\r\nabc",
    "CL in hex": LINE + HOST + b"Content-Length: 0x3\r\n\r\nabc",
    "CL with a space inside": LINE + HOST + b"Content-Length: 3 0\r\n\r\nabc",
    "CL without a value": LINE + HOST + b"Content-Length:\r\n\r\nabc",
    "CL over 64 bits": LINE + HOST + b"Content-Length: 18446744073709551619\r\n\r\nabc",
    "CL of 5,000 digits": LINE + HOST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nabc",
    "CL of 5,000 zeros": LINE + HOST + b"Content-Length: " + b"0" * 5000 + b"3\r\n\r\nabc",
    "CL with a fraction": LINE + HOST + b"Content-Length: 3.0\r\n\r\nabc",
    "xchunked": LINE + HOST + b"Transfer-Encoding: xchunked\r\n\r\n" + END,
    "identity": LINE + HOST + b"Transfer-Encoding: identity\r\n\r\n" + END,
    "chunked, identity": LINE + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + END,
    "gzip, chunked": LINE + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + END,
    "TE twice": LINE + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n" + END,
    "TE with a vertical tab": LINE + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + END,
    "TE before a space": LINE + HOST + b"Transfer-Encoding : chunked\r\n\r\n" + END,
    "chunked in HTTP/1.0": OLD + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + END,
    "a folded TE": LINE + HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + END,
    "a folded header": LINE + HOST + b"X-A: b\r\n c\r\nContent-Length: 3\r\n\r\nabc",
    "a bare LF": LINE + HOST + b"X-A: b\nContent-Length: 3\r\n\r\nabc",
    "bare LFs alone": (LINE + HOST + b"Content-Length: 3\r\n\r\n").replace(b"\r", b"") + b"abc",
    "a bare CR": LINE + HOST + b"X-A: b\rContent-Length: 3\r\n\r\nabc",
    "a NUL in a name": LINE + HOST + b"X-\x00A: b\r\nContent-Length: 3\r\n\r\nabc",
    "a NUL in a value": LINE + HOST + b"X-A: \x00b\r\nContent-Length: 3\r\n\r\nabc",
    "a space before the colon": LINE + HOST + b"Content-Length : 3\r\n\r\nabc",
    "a tab before the colon": LINE + HOST + b"Content-Length\t: 3\r\n\r\nabc",
    "a space before the first name": LINE + b" " + HOST + b"Content-Length: 3\r\n\r\nabc",
    "a line without a colon": LINE + HOST + b"Content-Length\r\n\r\nabc",
    "no Host": LINE + b"Content-Length: 3\r\n\r\nabc",
    "two Hosts": LINE + HOST + b"Host: y\r\nContent-Length: 3\r\n\r\nabc",
    "one Host twice": LINE + HOST + HOST + b"Content-Length: 3\r\n\r\nabc",
    "another protocol": LINE.replace(b"HTTP/1.1", b"HTTP/9.9") + HOST + b"Content-Length: 3\r\n\r\nabc",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a chunk longer than said": LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n" + END,
    "a chunk's size with a sign": LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n" + END,
    "a chunk's size with 0x": LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n" + END,
    "a chunk's size over 64 bits": LINE
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n"
    + END,
    "a chunk ended by LF": LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
}


async def is_refused(port: int, shape: bytes) -> bool:
    """One answer, 400, then the end: what follows in the same bytes is never taken for a request."""
    raw = await Raw.open(port)
    raw.send(shape + request(b"666"))
    try:
        said = await raw.end()
    except TimeoutError:  # it is still open: an answer was not the last one
        return False
    return said.startswith(b"HTTP/1.1 400 ") and said.count(b"\r\ncontent-length: ") == 1


async def test_no_shape_of_request_smuggling_gets_past_the_gateway(turnout: Turnout) -> None:
    await begin(turnout, usual)
    passed = [name for name, shape in SHAPES.items() if not await is_refused(turnout.port, shape)]
    assert passed == []
    assert turnout.workers[0].calls == []


async def test_a_deadline_of_5000_digits_is_a_bad_request(turnout: Turnout) -> None:
    await begin(turnout, usual)
    asked = request(more=b"turnout-timeout-ms: " + b"9" * 5000 + b"\r\n")
    assert (await ask(turnout.port, asked))[0] == 400


class CredulousReading(Reading):
    def _doubt(self) -> None: ...


class Credulous(Echo):
    """The protocol without its own checks, so with the parser's alone."""

    def new_reading(self) -> Reading:
        return CredulousReading(self)


async def test_the_table_of_smuggling_finds_a_server_that_believes_too_much() -> None:
    limits = Limits(keep_alive_s=0.1)
    server = HttpServer(type("Echoing", (Credulous,), {"held": [], "gone": []}), app, limits=limits)
    await server.start(free_socket())
    needing = {"gzip, chunked", "chunked in HTTP/1.0", "no Host", "two Hosts", "one Host twice"}
    assert [name for name in needing if await is_refused(server.port, SHAPES[name])] == []
    await server.drain(grace_s=0, deadline_s=1)
