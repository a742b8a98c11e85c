"""A worker that does exactly what a test tells it, byte for byte, mistakes included."""

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

from gateway.contract.pool import Lease, WorkerState
from gateway.contract.reply import plain_head
from tests.sockets import free_socket

DIGEST = "d" * 64
_TOKEN = re.compile(rb"turnout-attempt: ([0-9a-f]+)")
_LENGTH = re.compile(rb"content-length: (\d+)")


class Call:
    """One request that the worker was sent, and the connection that it came over."""

    def __init__(
        self,
        head: bytes,
        body: bytes,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        *,
        number: int,
    ) -> None:
        self.head = head
        self.body = body
        self.reader, self.writer = streams
        self.number = number  # counted from 0 over all connections
        found = _TOKEN.search(head)
        self.token = found[1] if found else b""

    def answer(self, body: bytes = b'{"outputs":[]}', *, output: bytes | None = b"7") -> bytes:
        """The usual answer, as a Turnout worker gives it."""
        attempt = self.token + b";" + DIGEST[:12].encode()
        head = plain_head(attempt=attempt, version=b"1", worker_us=100, output=output)
        return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Call], Awaitable[None]]


async def usual(call: Call) -> None:
    call.writer.write(call.answer())


async def hang(call: Call) -> None:
    """Answer nothing until the gateway gives up."""
    await until_closed(call)


async def until_closed(call: Call) -> None:
    """Wait for the gateway to close the connection; what it still sends is thrown away."""
    with suppress(ConnectionError):
        while await call.reader.read(65536):
            pass


def doubled(body: bytes) -> bytes:
    """The right answer to a body that is a number: nobody else's answer looks the same."""
    return b'{"outputs":[%d]}' % (2 * int(body))


async def double(call: Call) -> None:
    call.writer.write(call.answer(doubled(call.body)))


class ScriptedWorker:
    """`script` is called for every request; readiness probes are answered as `is_ready` says."""

    def __init__(self, script: Script = usual, *, name: str = "w1", version: str = "1") -> None:
        self.script = script
        self.name = name
        self.version = version
        self.calls: list[Call] = []
        self.connections = 0
        self.is_ready = True
        self.is_foreign = False  # announces itself as a server that does not echo attempts
        self.server: asyncio.Server
        self.running: set[asyncio.Task[None]] = set()
        self.writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self, port: int | None = None) -> "ScriptedWorker":
        sock = free_socket()
        if port is not None:
            sock.close()
            sock = socket.create_server(("127.0.0.1", port))
            sock.setblocking(False)
        self.server = await asyncio.start_server(self._serve, sock=sock)
        self.port = int(sock.getsockname()[1])
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.running.add(task)
        self.writers.add(writer)
        self.connections += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    if head.startswith(b"GET /v2/health/ready"):
                        status = b"200 OK" if self.is_ready else b"503 Service Unavailable"
                        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
                        continue
                    length = _LENGTH.search(head)
                    body = await reader.readexactly(int(length[1]) if length else 0)
                    call = Call(head, body, (reader, writer), number=len(self.calls))
                    self.calls.append(call)
                    await self.script(call)
        finally:
            self.running.discard(task)
            self.writers.discard(writer)
            writer.close()

    async def stop(self) -> None:
        """Close the listener and every connection."""
        self.server.close()
        for task in list(self.running):
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    def lease(self, *, model: str = "digits", state: WorkerState = WorkerState.READY) -> Lease:
        return Lease(
            worker_id=self.name,
            model=model,
            version=self.version,
            digest=DIGEST,
            host="127.0.0.1",
            port=self.port,
            pid=1,
            state=state,
            started_ms=1,
            is_foreign=self.is_foreign,
        )
