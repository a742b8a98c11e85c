"""Large bodies: as they were sent, within the room there is, given back exactly once however they end."""

import asyncio
import functools
import gc
import random
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ParamSpec

import pytest
import uvloop

from gateway.wire.limits import Limits
from gateway.wire.protocol import HttpProtocol
from gateway.wire.replies import STATUS_LINE
from gateway.wire.room import FREE_BYTES, Held, Room
from gateway.wire.server import HttpServer
from tests.sockets import Raw, eventually, free_socket

KIB = 1024
Way = Callable[[str, bytes], bytes]
BODY = random.Random(7).randbytes(1000 * KIB)


P = ParamSpec("P")


class Mirror(HttpProtocol):
    """`/mirror` gives the body back at once, `/later` when the test says; then the body is gone."""

    later: list["Mirror"]
    body = b""

    def serve(self, url: bytes, headers: dict[bytes, bytes], body: bytes) -> bool:
        if url == b"/mirror":
            self.reply(STATUS_LINE[200], body)
        elif url == b"/later":
            self.serving = body
            self.later.append(self)
        else:
            return False
        return True

    def client_gone(self) -> None:
        self.serving = None


async def app(scope: object, receive: object, send: object) -> None:
    raise AssertionError("not for these tests")


class World:
    """A server with little room."""

    def __init__(self, room: Room, server: HttpServer) -> None:
        self.room = room
        self.server = server
        self.later: list[Mirror] = server.protocol.later  # type: ignore[attr-defined]

    async def open(self) -> Raw:
        return await Raw.open(self.server.port)

    async def is_used(self, size: int) -> None:
        await eventually(lambda: self.room.used_bytes == size)

    async def end(self) -> None:
        for connection in list(self.server.connections):
            connection.transport.abort()
        await self.server.drain(grace_s=0, deadline_s=1)


async def start(limit_bytes: int, *, wait_s: float = 5.0, limits: Limits | None = None) -> World:
    room = Room(limit_bytes, wait_s=wait_s)
    protocol = type("Mirroring", (Mirror,), {"later": []})
    server = HttpServer(protocol, app, limits=limits or Limits(), room=room)
    await server.start(free_socket())
    return World(room, server)


def on_uvloop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """On the loop that the processes run: it reads and writes in its own way."""

    @functools.wraps(test)
    def run(*arguments: P.args, **named: P.kwargs) -> None:
        uvloop.run(test(*arguments, **named))

    return run


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Room that only the garbage collector gives back is not given back."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def sized(path: str, body: bytes, *, extra: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    pieces = [body[at : at + 30_000] for at in range(0, len(body), 30_000)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [0, 1, FREE_BYTES, FREE_BYTES + 1, 200 * KIB, 1000 * KIB])
@pytest.mark.parametrize("way", [sized, chunked])
@on_uvloop
async def test_a_body_of_any_size_comes_as_it_was_sent_and_the_next_request_too(size: int, way: Way) -> None:
    world = await start(10_000 * KIB)
    raw = await world.open()
    for _ in range(2):
        raw.send(way("/mirror", BODY[:size]) + sized("/mirror", b"next"))
        assert (await raw.reply())[::2] == (200, BODY[:size])
        assert (await raw.reply())[::2] == (200, b"next")
    await world.is_used(0)
    raw.close()
    await world.end()


@on_uvloop
async def test_a_body_that_comes_byte_by_byte_at_its_ends_is_whole() -> None:
    world = await start(10_000 * KIB)
    raw = await world.open()
    whole = sized("/mirror", BODY) + sized("/mirror", BODY[:70_000])
    for cut in (1, 80, 90, FREE_BYTES, 999 * KIB, len(BODY) + 75, len(BODY) + 80):
        raw.send(whole[:cut])
        await asyncio.sleep(0)
        await raw.writer.drain()
        raw.send(whole[cut:])
        assert (await raw.reply())[2] == BODY
        assert (await raw.reply())[2] == BODY[:70_000]
    raw.close()
    await world.end()


@on_uvloop
async def test_small_bodies_are_not_counted_and_never_wait() -> None:
    world = await start(0)
    raw, held = await world.open(), await world.open()
    held.send(sized("/later", BODY[: FREE_BYTES + 1]))
    await eventually(lambda: world.later)
    for way in (sized, chunked):
        raw.send(way("/mirror", BODY[:FREE_BYTES]))
        assert (await raw.reply())[0] == 200
    assert world.room.used_bytes == FREE_BYTES + 1
    assert world.room.waits == 0
    for connection in (raw, held):
        connection.close()
    await world.end()


@on_uvloop
async def test_large_bodies_wait_in_the_order_in_which_they_came() -> None:
    world = await start(150 * KIB)
    clients = [await world.open() for _ in range(4)]
    answered: list[int] = []
    for number, client in enumerate(clients):
        client.send(sized("/later", BODY[: (100 + number) * KIB]))
        await eventually(lambda: world.room.used_bytes and world.room.waits == number)  # noqa: B023
    for number, client in enumerate(clients):
        await eventually(lambda: len(world.later) == number + 1)  # noqa: B023
        assert world.room.used_bytes == (100 + number) * KIB
        world.later[number].reply(STATUS_LINE[200], b"ok")
        answered.append((await client.reply())[0])
    await world.is_used(0)
    assert answered == [200] * 4
    assert world.room.refused == 0
    for client in clients:
        client.close()
    await world.end()


@pytest.mark.parametrize("size", [100 * KIB, 1000 * KIB])
@pytest.mark.parametrize("way", [sized, chunked])
@on_uvloop
async def test_a_body_without_room_in_time_is_refused_and_told_when_to_try_again(size: int, way: Way) -> None:
    world = await start(100 * KIB, wait_s=0.05, limits=Limits(body_bytes=1000 * KIB))
    first, second = await world.open(), await world.open()
    first.send(sized("/later", BODY[: 90 * KIB]))
    await eventually(lambda: world.later)
    second.send(way("/mirror", BODY[:size]))
    status, headers, _ = await second.reply()
    assert (status, headers["turnout-error"], headers["retry-after"]) == (503, "overloaded", "1")
    assert headers["connection"] == "close"
    assert await second.end() == b""
    assert (world.room.waits, world.room.refused) == (1, 1)
    assert world.room.used_bytes == 90 * KIB
    first.close()
    await world.is_used(0)
    await world.end()


@on_uvloop
async def test_a_client_that_asks_first_hears_continue_when_there_is_room() -> None:
    world = await start(100 * KIB)
    first, second = await world.open(), await world.open()
    first.send(sized("/later", BODY[: 90 * KIB]))
    await eventually(lambda: world.later)
    whole = sized("/mirror", BODY[: 90 * KIB], extra="Expect: 100-continue\r\n")
    second.send(whole[: -90 * KIB])
    await eventually(lambda: world.room.waits == 1)
    assert not second.reader._buffer  # type: ignore[attr-defined]
    world.later[0].reply(STATUS_LINE[200], b"ok")
    assert await second.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    second.send(whole[-90 * KIB :])
    assert (await second.reply())[2] == BODY[: 90 * KIB]
    for client in (first, second):
        client.close()
    await world.end()


@on_uvloop
async def test_a_waiting_request_that_came_whole_is_answered_before_what_follows_it() -> None:
    world = await start(100 * KIB)
    first, second = await world.open(), await world.open()
    first.send(sized("/later", BODY[: 90 * KIB]))
    await eventually(lambda: world.later)
    second.send(sized("/mirror", BODY[: 80 * KIB]) + sized("/mirror", b"next"))
    await eventually(lambda: world.room.waits == 1)
    world.later[0].reply(STATUS_LINE[200], b"ok")
    assert (await second.reply())[2] == BODY[: 80 * KIB]
    assert (await second.reply())[2] == b"next"
    for client in (first, second):
        client.close()
    await world.end()


@on_uvloop
async def test_a_reply_counts_until_a_slow_client_has_read_it() -> None:
    world = await start(64 * 1024 * KIB)
    body = BODY * 20
    raw = await world.open()
    raw.send(sized("/mirror", body))
    await world.is_used(len(body))
    await eventually(lambda: any(connection.is_blocked for connection in world.server.connections))
    assert world.room.used_bytes == len(body)
    assert (await raw.reply())[2] == body
    await world.is_used(0)
    raw.close()
    await world.end()


@pytest.mark.parametrize("size", [10, 200 * KIB])
@pytest.mark.parametrize("way", [sized, chunked])
@on_uvloop
async def test_a_closed_connection_is_gone_without_the_collector(size: int, way: Way) -> None:
    world = await start(10_000 * KIB)
    raw = await world.open()
    raw.send(way("/mirror", BODY[:size]) + way("/mirror", BODY[:size])[:-1])
    assert (await raw.reply())[0] == 200
    (connection,) = world.server.connections
    left = weakref.ref(connection)
    del connection
    raw.close()
    await eventually(lambda: left() is None)
    await world.end()


@on_uvloop
async def test_room_is_given_back_once_however_requests_end() -> None:
    """At random: answered, refused, cut off in the head, body, wait or reply, too slow, too large."""
    chance = random.Random(11)
    limits = Limits(body_bytes=900 * KIB, body_s=0.2, body_bytes_per_s=10**9, linger_s=0.2)
    world = await start(1200 * KIB, wait_s=0.1, limits=limits)
    endings: Counter[str] = Counter()

    async def client() -> None:
        raw = await world.open()
        size = chance.choice([1, 70, 200, 500, 890, 950]) * KIB
        path = chance.choice(["/mirror", "/later"])
        whole = chance.choice([sized, chunked])(path, BODY[:size])
        ending = chance.choice(["read", "read", "gone", "reset", "stop sending", "pipeline"])
        endings[ending] += 1
        if ending in ("gone", "reset", "stop sending"):
            whole = whole[: chance.randrange(len(whole))]
        elif ending == "pipeline":
            whole += sized("/mirror", BODY[: chance.choice([1, 80, 300]) * KIB])
        raw.send(whole)
        await asyncio.sleep(chance.random() * 0.05)
        if ending in ("read", "pipeline"):
            try:
                endings[str((await raw.reply())[0])] += 1
            except (ConnectionError, asyncio.IncompleteReadError):
                endings["cut off"] += 1
        if ending == "stop sending":
            await raw.end()
        elif ending == "reset":
            raw.reset()
        else:
            raw.close()

    async def answer_later() -> None:
        while True:
            await asyncio.sleep(0.01)
            while world.later:
                waiting = world.later.pop(chance.randrange(len(world.later)))
                if waiting.is_busy:
                    waiting.reply(STATUS_LINE[200], waiting.serving if chance.random() < 0.5 else b"ok")

    answering = asyncio.create_task(answer_later())
    async with asyncio.timeout(110):
        for _ in range(12):
            await asyncio.gather(*(client() for _ in range(25)))
    await eventually(lambda: not world.server.connections)
    await world.is_used(0)
    assert not world.room.line
    assert endings["200"] > 5
    assert endings["503"] + endings["cut off"] > 5
    assert endings["413"] > 2
    answering.cancel()
    await asyncio.gather(answering, return_exceptions=True)
    await world.end()


@on_uvloop
async def test_the_largest_body_of_all_fits_into_an_empty_room() -> None:
    room = Room(10)
    first = room.take(100, 100)
    assert first is not None
    assert room.take(1, 1) is None
    del first
    assert room.used_bytes == 0


@on_uvloop
async def test_nobody_overtakes_those_who_wait() -> None:
    room = Room(10, wait_s=10)
    first = room.take(8, 0)
    told: list[Held | None] = []
    waiting = room.wait(9, 0, told.append)
    assert room.take(1, 0) is None
    waiting.leave()
    assert room.take(1, 0) is not None
    del first
    assert told == []
    assert room.used_bytes == 0
