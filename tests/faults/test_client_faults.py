"""Clients that send what they should not, stop, dawdle or leave: refused, closed in time, at nobody's cost."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
import pytest

from gateway.wire.limits import Limits
from gateway.wire.protocol import HttpProtocol
from gateway.wire.server import HttpServer
from tests.dataplane.conftest import Turnout
from tests.faults.conftest import StartGateway, begin, request
from tests.scripted import Call, doubled, hang, usual
from tests.sockets import Raw, ask, eventually, free_socket
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
    await eventually(lambda: connection.body_bytes == 400_000)
    assert len(connection.chunks) < 2_000
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

    def is_cut(self) -> bool:
        """The server has ended the connection; reads at most one byte, as a slow client does."""
        try:
            return self.sock.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True


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
    await eventually(lambda: not server.connections, within_s=3)
    client.close()
