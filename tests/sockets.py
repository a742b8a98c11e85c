"""Raw sockets for tests: what goes over the wire, byte for byte."""

import asyncio
import itertools
import os
import socket
import time
from collections.abc import Callable

PATIENCE_S = 60.0  # only so that a test does not hang for ever: it costs nothing where all is well
FIRST_PORT, PORTS_EACH, SLICES = 10_000, 2_000, 11  # all below the kernel's ephemeral ports
_OWN_SLICE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % SLICES
_ports = itertools.cycle(
    range(FIRST_PORT + _OWN_SLICE * PORTS_EACH, FIRST_PORT + (_OWN_SLICE + 1) * PORTS_EACH)
)
for _ in range(os.getpid() % PORTS_EACH):  # two runs on one machine do not begin with the same one
    next(_ports)


def free_socket() -> socket.socket:
    """A bound, listening socket on a free port of loopback."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(1024)
    sock.setblocking(False)
    return sock


def free_port() -> int:
    """One that stays free until the test uses it: not among those that the kernel gives to connections and to
    who binds port 0, not of another xdist worker, and not given again soon."""
    for port in _ports:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("there are always more ports")


async def eventually(holds: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Wait for a state; fails when it does not come."""
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until, f"not within {within_s} s"
        await asyncio.sleep(0.005)


class Raw:
    """One connection: send bytes, read whole replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> "Raw":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self, *, within_s: float = PATIENCE_S) -> tuple[int, dict[str, str], bytes]:
        """The next reply: status, headers, body (framed by Content-Length)."""
        async with asyncio.timeout(within_s):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head[:-4].split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(first.split(" ")[1]), headers, body

    async def end(self, *, within_s: float = PATIENCE_S) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(within_s):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""
            finally:
                self.close()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


async def ask(port: int, data: bytes, *, within_s: float = PATIENCE_S) -> tuple[int, dict[str, str], bytes]:
    """One request on its own connection."""
    raw = await Raw.open(port)
    try:
        raw.send(data)
        return await raw.reply(within_s=within_s)
    finally:
        raw.close()
