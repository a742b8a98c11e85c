"""One worker as a gateway sees it: its connections, its load, and whether it is to be trusted.

Must not know: routes, clients, Redis. Used by `pool`.
"""

import asyncio
from collections.abc import Callable

from gateway.contract.pool import Lease
from gateway.contract.record import worker_tail
from gateway.upstream.connection import Connection, Failure, Receiver

CONNECT_S = 0.25
MAX_CONNECTIONS = 256


class Worker:
    """Counts requests in flight and consecutive failures of transport; hands requests to connections."""

    __slots__ = (
        "digest12", "failed_probes", "failures", "host", "idle", "in_flight", "is_ejected", "is_gone",
        "on_failing", "opening", "port", "tail", "unsolicited", "worker_id",
    )  # fmt: skip

    def __init__(self, lease: Lease, on_failing: Callable[["Worker"], None]) -> None:
        self.worker_id = lease.worker_id
        self.tail = worker_tail(lease.worker_id).encode()
        self.host = lease.host
        self.port = lease.port
        self.digest12 = b"" if lease.is_foreign else lease.digest[:12].encode()
        self.on_failing = on_failing
        self.in_flight = 0
        self.idle: list[Connection] = []
        self.opening: set[asyncio.Task[None]] = set()
        self.failures = 0
        self.failed_probes = 0
        self.unsolicited = 0
        self.is_ejected = False
        self.is_gone = False

    def send(self, receiver: Receiver, head: bytes, body: bytes) -> None:
        """Send over an idle connection, or over a new one."""
        if self.in_flight >= MAX_CONNECTIONS:
            receiver.on_failure(Failure.BUSY)
            return
        self.in_flight += 1
        while self.idle:
            connection = self.idle.pop()
            if not connection.is_closed:
                connection.send(receiver, head, body)
                return
        task = asyncio.get_running_loop().create_task(
            self._open(receiver, head, body), name="upstream-connect"
        )
        self.opening.add(task)
        task.add_done_callback(self.opening.discard)

    async def _open(self, receiver: Receiver, head: bytes, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_connection(lambda: Connection(self), self.host, self.port)
        except OSError:  # TimeoutError is one
            self.in_flight -= 1
            if not receiver.is_over:
                receiver.on_failure(Failure.REFUSED)
            return
        if receiver.is_over:  # given up while the connection was made
            self.idle_again(connection)
        else:
            connection.send(receiver, head, body)

    def idle_again(self, connection: Connection) -> None:
        """The connection has done its request and can take another."""
        self.in_flight -= 1
        connection.is_unused = False
        self.idle.append(connection)

    def closed(self, connection: Connection, *, was_busy: bool) -> None:
        if was_busy:
            self.in_flight -= 1
        else:
            self.unsolicited += connection.got_bytes
            if connection in self.idle:
                self.idle.remove(connection)

    def succeeded(self) -> None:
        self.failures = 0

    def failed(self) -> None:
        """The outcome of an attempt was a failure of transport or of time."""
        self.failures += 1
        self.on_failing(self)

    def close_unused(self) -> None:
        """Close connections that nobody used since the last call (all of them once the worker is gone)."""
        for connection in list(self.idle):
            if connection.is_unused or self.is_gone:
                connection.transport.close()
            connection.is_unused = True
