"""Clients that send what they should not, stop, dawdle or leave: refused, closed in time, at nobody's cost."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

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
