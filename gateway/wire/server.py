"""A listening socket with its connections: start, sweep of deadlines, readiness grace, drain.

uvicorn's own server closes its listener at once on SIGTERM and drops connections that were accepted but not
read yet (Kludex/uvicorn#2757), so only its protocol and configuration are used, not its server.

Must not know what is served. Used by `gateway.dataplane` and `workers.server`.
"""

import asyncio
import resource
import socket
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.wire.limits import Limits
from gateway.wire.plain import Heads
from gateway.wire.protocol import HttpProtocol, Ticker
from gateway.wire.room import Room
from gateway.wire.tasks import end_tasks

SWEEP_S = 0.25  # deadlines are kept to within this
STALL_S = 0.25  # a loop that is this late has stood still
BACKLOG = 2048


def _within_files(limits: Limits) -> Limits:
    """Fewer connections where the process may not open so many files: a quarter is for workers and Redis."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # a system may allow less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return limits if soft < 0 else replace(limits, connections=min(limits.connections, soft * 3 // 4))


class HttpServer:
    """Serves `protocol` (a subclass of `HttpProtocol`) and, for what it does not take, the ASGI `app`.

    `room`: for large bodies of requests; without it they are bounded one by one only.
    """

    def __init__(
        self, protocol: type[HttpProtocol], app: Any, *, limits: Limits, room: Room | None = None
    ) -> None:
        self.ticker = Ticker(time.monotonic())
        self.protocol: type[HttpProtocol] = type(
            protocol.__name__,
            (protocol,),
            {
                "limits": _within_files(limits),
                "ticker": self.ticker,
                "heads": Heads(),
                "room": room or Room(),
            },
        )
        self.config = Config(app, http=self.protocol, ws="none", lifespan="off", log_config=None)
        self.config.load()
        self.state = ServerState()
        self.listener: asyncio.Server | None = None
        self.near: asyncio.Server | None = None  # the same on a Unix socket
        self.sweeping: asyncio.Task[None] | None = None

    @property
    def connections(self) -> set[HttpProtocol]:
        return self.state.connections  # type: ignore[return-value]

    @property
    def port(self) -> int:
        assert self.listener is not None
        return int(self.listener.sockets[0].getsockname()[1])

    async def start(self, sock: socket.socket, *, near: socket.socket | None = None) -> None:
        """Listen on a bound socket, and on a Unix socket for who is near."""
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(self._connect, sock=sock, backlog=BACKLOG)
        if near is not None:
            self.near = await loop.create_unix_server(self._connect, sock=near, backlog=BACKLOG)
        self.sweeping = loop.create_task(self._sweep(), name="wire-sweep")

    def _connect(self) -> HttpProtocol:
        return self.protocol(config=self.config, server_state=self.state, app_state={})

    async def _sweep(self) -> None:
        was_stalled = False
        while True:
            due = time.monotonic() + SWEEP_S
            await asyncio.sleep(SWEEP_S)
            self.ticker.now = time.monotonic()
            was_stalled = self.ticker.now - due > STALL_S and not was_stalled
            if was_stalled:
                continue  # what clients sent meanwhile is read first: they are not slow, this loop was
            for connection in list(self.connections):
                connection.check_deadline()

    async def drain(self, *, grace_s: float, deadline_s: float) -> bool:
        """End without losing a request; True when every connection ended by itself.

        For `grace_s` connections are still accepted (whoever balances load has to notice first) and every
        reply says `connection: close`. Then the listener closes, idle connections are closed once they have
        been silent for a moment, and what is in flight gets until `deadline_s` from now.
        """
        assert self.listener is not None
        assert self.sweeping is not None
        started = time.monotonic()
        self.ticker.draining = True
        await asyncio.sleep(grace_s)
        self.listener.close()
        if self.near is not None:
            self.near.close()
        while self.connections and time.monotonic() - started < deadline_s:
            self._close_silent()
            await asyncio.sleep(0.02)
        was_clean = not self.connections
        for connection in list(self.connections):
            connection.transport.abort()
        await end_tasks([self.sweeping])
        return was_clean

    def _close_silent(self) -> None:
        """Close what has been idle for two sweeps: a request already on its way is read first."""
        self.ticker.now = time.monotonic()
        for connection in list(self.connections):
            if connection.is_idle() and self.ticker.now - connection.since > 2 * SWEEP_S:
                connection.transport.close()
