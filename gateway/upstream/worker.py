"""One worker as a gateway sees it: its connections, its load, its latency, and whether it is to be trusted.

Must not know: routes, clients, Redis. Used by `pool`.
"""

import asyncio
import errno
import socket
from collections.abc import Callable

from gateway.contract.pool import Lease
from gateway.contract.record import worker_tail
from gateway.core.health import Trust
from gateway.upstream.connection import Connection
from gateway.upstream.outcome import Failure, Receiver

CONNECT_S = 0.25
MAX_CONNECTIONS = 1024  # the last resort; a route's limit for each worker comes long before


def _reach(near: str) -> socket.socket:
    """A connection to an abstract Unix socket, which is made, or refused, at once."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.connect("\0" + near)
    except OSError:
        sock.close()
        raise
    return sock


def _why(error: OSError) -> Failure:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return Failure.BUSY  # no file descriptor is left here: nothing that the worker did
    return Failure.REFUSED if isinstance(error, ConnectionRefusedError) else Failure.UNREACHABLE


class Worker:
    """Counts requests in flight and consecutive failures of transport; hands requests to connections.

    `weight` is what the pool makes of `capacity` (the lease's), of how long the worker has been ready and of
    its latency; `answers`, `answers_us` (as seen from here) and `told_us` (as the worker says) gather until
    the pool's next look.
    """

    __slots__ = (
        "answers", "answers_us", "capacity", "digest12", "failed_probes", "failures", "host", "idle",
        "in_flight", "is_ejected", "is_gone", "is_refusing", "latency_us", "near", "on_failing", "opening",
        "port", "ready_s", "started_ms", "tail", "told_us", "unsolicited", "weight", "worker_id",
    )  # fmt: skip

    def __init__(self, lease: Lease, on_failing: Callable[["Worker"], None]) -> None:
        self.worker_id = lease.worker_id
        self.tail = worker_tail(lease.worker_id).encode()
        self.host = lease.host
        self.port = lease.port
        self.started_ms = lease.started_ms
        self.near = lease.near
        self.digest12 = b"" if lease.is_foreign else lease.digest[:12].encode()
        self.on_failing = on_failing
        self.in_flight = 0
        self.idle: list[Connection] = []
        self.opening: set[asyncio.Task[None]] = set()
        self.failures = 0
        self.failed_probes = 0
        self.unsolicited = 0
        self.is_ejected = False
        self.is_refusing = False  # the last failure was that nothing listens there
        self.is_gone = False  # its lease has ended
        self.capacity = lease.weight
        self.weight = lease.weight
        self.ready_s = float("-inf")  # when it began to be sent requests, by the loop's clock
        self.latency_us = 0.0  # smoothed; 0 = not known
        self.answers = 0
        self.answers_us = 0.0
        self.told_us = 0

    def is_leased_by(self, lease: Lease) -> bool:
        """False when another process has taken the same id."""
        return (self.host, self.port, self.started_ms) == (lease.host, lease.port, lease.started_ms)

    @property
    def trust(self) -> Trust:
        if not self.is_ejected:
            return Trust.TRUSTED
        return Trust.GONE if self.is_refusing else Trust.EJECTED

    def take_answers(self) -> tuple[int, int]:
        """Put the answers since the last call into `latency_us`; how many there were, and their `told_us`."""
        answers, told_us = self.answers, self.told_us
        if answers:
            mean_us = self.answers_us / answers
            self.latency_us = (self.latency_us + mean_us) / 2 if self.latency_us else mean_us
            self.answers = self.told_us = 0
            self.answers_us = 0.0
        return answers, told_us

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
                if self.near:
                    connecting = loop.create_unix_connection(lambda: Connection(self), sock=_reach(self.near))
                else:
                    connecting = loop.create_connection(lambda: Connection(self), self.host, self.port)
                _, connection = await connecting
        except OSError as error:  # TimeoutError is one
            self.in_flight -= 1
            if not receiver.is_over:
                receiver.on_failure(_why(error))
            return
        if receiver.is_over:  # given up while the connection was made
            self.idle_again(connection)
        else:
            connection.send(receiver, head, body)

    def idle_again(self, connection: Connection) -> None:
        """The connection has done its request and can take another."""
        self.in_flight -= 1
        connection.is_unused = False
        if self.is_gone:
            connection.transport.close()
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

    def failed(self, failure: Failure | None = None) -> None:
        """The outcome of an attempt was a failure of transport, or of time (None)."""
        if self.failures == 0:  # it has answered since it was last probed
            self.failed_probes = 0
        self.failures += 1
        self.is_refusing = failure is Failure.REFUSED
        self.on_failing(self)

    def close_unused(self) -> None:
        """Close connections that nobody used since the last call (all of them once the worker is gone)."""
        for connection in list(self.idle):
            if connection.is_unused or self.is_gone:
                connection.transport.close()
            connection.is_unused = True
