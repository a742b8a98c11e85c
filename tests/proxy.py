"""A TCP proxy that mistreats what passes: delays, throttles, cuts, resets, half-closes, corrupts, duplicates.

It sits between a client and the gateway, or between the gateway and a worker. A plan is asked once for every
connection, with a seeded source of chance, what shall happen to each of its two directions; so the same seed
makes the same trouble. It runs in the test's own loop and touches loopback only.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import assert_never

from tests.sockets import free_socket

PIECE_BYTES = 65536


class End(StrEnum):
    """How a direction ends once its `end_after_bytes` have passed."""

    CLOSE = "close"  # FIN to both sides
    RESET = "reset"  # RST to both sides
    HALF = "half"  # FIN to the receiver alone; the other direction goes on


@dataclass(frozen=True, slots=True)
class Way:
    """What happens to the bytes of one direction of one connection. Pieces are what one read brings."""

    delay_s: float = 0.0  # before each piece
    bytes_per_s: float = float("inf")
    end_after_bytes: int | None = None
    end: End = End.CLOSE
    corrupt_byte: int | None = None  # all bits of this byte are turned over; counted from 0
    duplicate_piece: int | None = None  # this piece is sent twice; counted from 0


PLAIN = Way()
Ways = tuple[Way, Way]  # towards the server, towards the client
Plan = Callable[[int, Random], Ways]  # of the connection's number, counted from 0


def untouched(number: int, random: Random) -> Ways:
    return PLAIN, PLAIN


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Proxy:
    """`start` it in front of `target_port`; `plan` may be replaced while it runs."""

    def __init__(self, target_port: int, plan: Plan = untouched, *, seed: int = 0) -> None:
        self.target_port = target_port
        self.plan = plan
        self.random = Random(seed)
        self.connections = 0
        self.ends = 0  # directions that were ended by their plan
        self.duplicates = 0
        self.server: asyncio.Server
        self.port = 0
        self.running: set[asyncio.Task[None]] = set()

    async def start(self) -> "Proxy":
        sock = free_socket()
        self.server = await asyncio.start_server(self._serve, sock=sock)
        self.port = int(sock.getsockname()[1])
        return self

    async def stop(self) -> None:
        self.server.close()
        for task in list(self.running):
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.running.add(task)
        onward, back = self.plan(self.connections, self.random)
        self.connections += 1
        far: asyncio.StreamWriter | None = None
        try:
            with suppress(ConnectionError):
                far_reader, far = await asyncio.open_connection("127.0.0.1", self.target_port)
                await asyncio.gather(
                    self._pump(reader, far, writer, onward), self._pump(far_reader, writer, far, back)
                )
        finally:
            self.running.discard(task)
            for each in (writer, far):
                if each is not None:
                    each.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        other: asyncio.StreamWriter,
        way: Way,
    ) -> None:
        """Pass on what `reader` brings; `other` writes to the side that `reader` reads from."""
        passed = pieces = 0
        try:
            while data := await reader.read(PIECE_BYTES):
                if way.delay_s or way.bytes_per_s < float("inf"):
                    await asyncio.sleep(way.delay_s + len(data) / way.bytes_per_s)
                if way.corrupt_byte is not None and passed <= way.corrupt_byte < passed + len(data):
                    data = _corrupted(data, way.corrupt_byte - passed)
                is_last = way.end_after_bytes is not None and passed + len(data) >= way.end_after_bytes
                if is_last:
                    assert way.end_after_bytes is not None
                    data = data[: way.end_after_bytes - passed]
                writer.write(data)
                if pieces == way.duplicate_piece:
                    self.duplicates += 1
                    writer.write(data)
                await writer.drain()
                passed, pieces = passed + len(data), pieces + 1
                if is_last:
                    self.ends += 1
                    _end(way.end, writer, other)
                    return
            if writer.can_write_eof():
                writer.write_eof()
        except ConnectionError:  # one side was reset: so is the other
            reset(writer)
            reset(other)


def _corrupted(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def _end(end: End, writer: asyncio.StreamWriter, other: asyncio.StreamWriter) -> None:
    match end:
        case End.CLOSE:
            writer.close()
            other.close()
        case End.RESET:
            reset(writer)
            reset(other)
        case End.HALF:
            writer.write_eof()
        case _:
            assert_never(end)
