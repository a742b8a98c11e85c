"""The static backend answers every whole request once, however its bytes arrive."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.contract.reply import match_plain
from loadtests.backend import BODY, DIGEST, Backend
from loadtests.started import free_port

REQUEST = (
    b"POST /v2/models/bench/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n"
    b"turnout-attempt: 7f\r\n\r\n12345"
)


@pytest.fixture
async def connection() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    port = free_port()
    server = await asyncio.get_running_loop().create_server(lambda: Backend(b"2"), "127.0.0.1", port)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield reader, writer
    writer.close()
    await writer.wait_closed()
    server.close()


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.readexactly(int(head.rsplit(b"content-length: ", 1)[1]))


async def test_a_reply_is_what_gateways_know_from_turnout_workers(
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    reader, writer = connection
    writer.write(REQUEST)
    reply = await answer(reader)
    plain = match_plain(reply)
    assert plain is not None
    assert plain[1] == b"7f;" + DIGEST[:12].encode()
    assert reply[plain.end() :] == BODY


async def test_requests_in_pieces_and_in_one_piece_are_answered_once_each(
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    reader, writer = connection
    before = Backend.handled
    for at in range(0, len(REQUEST), 40):
        writer.write(REQUEST[at : at + 40])
        await writer.drain()
        await asyncio.sleep(0)
    await answer(reader)
    writer.write(REQUEST * 3)
    for _ in range(3):
        await answer(reader)
    assert Backend.handled - before == 4
    writer.write(b"GET /handled HTTP/1.1\r\n\r\n")
    assert (await answer(reader)).endswith(b"\r\n\r\n%d" % Backend.handled)


async def test_a_large_body_is_swallowed_and_what_follows_it_is_answered_too(
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    reader, writer = connection
    before = Backend.handled
    large = REQUEST.replace(b"length: 5", b"length: 1000000")[:-5] + bytes(1_000_000)
    writer.write(large + REQUEST + large)
    for _ in range(3):
        assert match_plain(await answer(reader)) is not None
    assert Backend.handled - before == 3
