"""One gateway process: makes its objects, serves a listening socket, and ends without losing a request.

Started by `parent` (or a test) with a bound socket. Everything periodic is a named task that is owned, and
awaited at the end, here.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

from gateway import __version__
from gateway.contract.errors import UpstreamError
from gateway.dataplane.app import Surface, build_app
from gateway.dataplane.door import Door
from gateway.dataplane.feedback import FeedbackIntake
from gateway.dataplane.follower import Follower, Identity
from gateway.dataplane.lane import Lane
from gateway.dataplane.metrics import (
    Accuracies,
    count_pins,
    count_predictions,
    count_spans,
    measure_bodies,
    measure_process,
    measure_table,
)
from gateway.dataplane.pins import PinCounts
from gateway.dataplane.protocol import GatewayProtocol
from gateway.dataplane.recorder import Recorder
from gateway.dataplane.settings import GatewaySettings, state_path
from gateway.dataplane.shadower import Shadower
from gateway.dataplane.table import Table
from gateway.dataplane.tally import Tallies
from gateway.dataplane.traced import TracedProtocol
from gateway.observe.collect import serve_state
from gateway.observe.state import MetricsState
from gateway.store.connection import connect
from gateway.store.documents import Documents
from gateway.store.fleet import FleetStore
from gateway.store.key_uses import KeyUses
from gateway.store.pins import DAY_S, Pins
from gateway.store.predictions import Predictions
from gateway.store.watch import Watch
from gateway.traces.export import Exporter
from gateway.upstream.pool import PoolSet
from gateway.wire.room import Room
from gateway.wire.server import HttpServer
from gateway.wire.tasks import end_tasks

DEADLINE_TICK_S = 0.01  # deadlines are kept to within this
LOOK_TICK_S = 0.25  # how soon a worker's latency changes its share
SHED_S = 0.05  # a loop held up this long has no time for copies that would have to wait
LATE_S = 0.1  # a loop that was held up this long first reads what has come meanwhile
UNUSED_TICK_S = 15.0  # unused connections are closed after 15 to 30 s, before a worker does it after 75 s
ACCURACY_TICK_S = 15.0
LAST_GOOD = "gateway-last-good.json"
USES_TICK_S = 60.0  # when a key was used last is told to the minute
LAST_FLUSH_S = 2.0
log = logging.getLogger("turnout.gateway")


class GatewayProcess:
    """`start`, then `stop`; between the two it serves."""

    def __init__(self, settings: GatewaySettings, *, index: int = 0) -> None:
        self.settings = settings
        started_ms = int(time.time() * 1000)
        self.gateway_id = f"{socket.gethostname()}-{os.getpid()}-{started_ms}"
        self.redis = connect(settings.redis_url, name=f"turnout-gateway-{index}")
        self.predictions = Predictions(self.redis)
        self.tallies = Tallies()
        self.pools = PoolSet(slow_start_s=settings.slow_start_s)
        self.recorder = Recorder(self.gateway_id, self.tallies, bound=settings.recorder_bound)
        self.table = Table(self.pools, self.recorder, self.tallies)
        # Halves: replies must never wait for requests, since a request is held until it has its reply.
        self.requests, self.replies = (
            Room(settings.body_memory_bytes // 2, wait_s=settings.body_wait_s) for _ in range(2)
        )
        self.shadower = Shadower(self.tallies, settings, self.replies)
        self.fleet = FleetStore(self.redis)
        self.key_uses = KeyUses(self.redis)
        self.door = Door(settings.access, processes=settings.processes)
        self.pin_counts = PinCounts(self.door)
        self.pins = Pins(self.redis)
        self.lane = Lane(self.tallies, self.shadower, self.replies, self.pin_counts)
        self.follower = Follower(
            self.table,
            Documents(self.redis),
            self.fleet,
            identity=Identity(self.gateway_id, os.getpid(), f"{settings.host}:{settings.port}", started_ms),
            path=settings.data_dir / LAST_GOOD,
            door=self.door,
            rejected=self.tallies.rejected,
        )
        self.watch = Watch(settings.redis_url, self.follower.hint)
        surface = Surface(
            table=self.table,
            door=self.door,
            tallies=self.tallies,
            intake=FeedbackIntake(self.predictions, self.table, self.tallies),
            is_ready=self.is_ready,
            turnout_version=__version__,
        )
        parts: dict[str, Any] = {"table": self.table, "lane": self.lane, "door": self.door}
        self.exporter: Exporter | None = None
        base: type[GatewayProtocol] = GatewayProtocol
        if settings.traces.is_on:
            resource = {"service.name": "turnout-gateway", "service.instance.id": self.gateway_id}
            self.exporter = Exporter(settings.traces, resource | {"service.version": __version__})
            base, parts = TracedProtocol, parts | {"exporter": self.exporter}
        protocol = type("Protocol", (base,), parts)
        self.server = HttpServer(protocol, build_app(surface), limits=settings.limits, room=self.requests)
        self.tasks: list[asyncio.Task[None]] = []
        self.index = index
        self.accuracies = Accuracies(self.predictions)
        self.loop_lag_s = 0.0  # worst of the last second
        self.is_redis_away = False

    def is_ready(self) -> bool:
        return self.follower.has_table and not self.server.ticker.draining

    async def start(self, sock: socket.socket) -> None:
        """Follow Redis, or what the disk remembers, then listen."""
        self.follower.load_last_good()
        try:
            await self.follower.follow()
        except UpstreamError as error:
            served = (
                f"revision {self.table.snapshot.revision} from disk" if self.follower.has_table else "nothing"
            )
            log.warning("Redis is away at start, serving %s: %s", served, error.message)
        await self.server.start(sock)
        self._run("follow", self.follower.run)
        self._run("watch", self.watch.run)
        self._run("save", self.follower.keep_saving)
        self._run("deadlines", self._keep_deadlines)
        self._run("flush", self._keep_flushing)
        self._run("unused", self._keep_closing_unused)
        self._run("look", self._keep_looking)
        self._run("accuracy", self._keep_measuring)
        self._run("key-uses", self._keep_noting_uses)
        if self.exporter is not None:
            self._run("traces", self.exporter.run)
        gc.freeze()
        gc.set_threshold(20_000, 50, 100)  # requests leave no cycles behind: look for garbage rarely

    def _run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(_logged(name, work), name=f"gateway-{name}"))

    async def stop(self) -> None:
        """Drain, write what is recorded, say goodbye."""
        settings = self.settings
        await self.server.drain(grace_s=settings.drain_grace_s, deadline_s=settings.drain_deadline_s)
        await end_tasks(self.tasks)
        await self._last_flush()
        if self.exporter is not None:
            await self.exporter.finish()
        await self.follower.save_last()
        with contextlib.suppress(UpstreamError):
            await self.fleet.forget_gateway(self.gateway_id)
        await self.pools.close()
        await self.redis.aclose()

    async def _last_flush(self) -> None:
        until = time.monotonic() + LAST_FLUSH_S
        while True:
            try:
                await self.recorder.flush(self.predictions, everything=True)
                await self._write_pins()
                return
            except UpstreamError:
                if time.monotonic() > until:
                    log.error("%d predictions were not recorded: Redis is away", self.recorder.buffered)
                    return
                await asyncio.sleep(0.1)

    async def _keep_deadlines(self) -> None:
        window_ends = 0.0
        worst = 0.0
        was_late = False
        while True:
            due = time.perf_counter() + DEADLINE_TICK_S
            await asyncio.sleep(DEADLINE_TICK_S)
            now = time.perf_counter()
            worst = max(worst, now - due)
            if now > window_ends:
                self.loop_lag_s, worst, window_ends = worst, 0.0, now + 1
                self.shadower.is_shedding = self.loop_lag_s > SHED_S
            if now - due > LATE_S and not was_late:
                was_late = True  # answers may be waiting unread: the deadline was ours to keep, not theirs
                continue
            was_late = False
            self.lane.expire(now)
            self.shadower.expire(now)

    async def _write_pins(self) -> None:
        if not self.pin_counts.waiting:
            return
        for model, counts in self.pin_counts.take().items():
            try:
                await self.pins.note(model, int(time.time()) // DAY_S, counts)
            except UpstreamError:
                self.pin_counts.give_back(model, counts)
                raise

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(self.settings.flush_s)
            try:
                await self.recorder.flush(self.predictions)
                await self._write_pins()
                self.is_redis_away = False
            except UpstreamError as error:
                if not self.is_redis_away:
                    log.warning("records wait in memory: %s", error.message)
                self.is_redis_away = True

    async def _keep_looking(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_TICK_S)
            self.pools.look(loop.time())
            self.door.forget_expired(time.time() * 1000)

    async def _keep_closing_unused(self) -> None:
        while True:
            await asyncio.sleep(UNUSED_TICK_S)
            self.pools.close_unused()

    async def _keep_measuring(self) -> None:
        while True:
            with contextlib.suppress(UpstreamError):
                await self.accuracies.refresh(list(self.recorder.models))
            await asyncio.sleep(ACCURACY_TICK_S)

    async def _keep_noting_uses(self) -> None:
        while True:
            await asyncio.sleep(USES_TICK_S)
            if used := self.door.take_used():
                with contextlib.suppress(UpstreamError):
                    await self.key_uses.note(used, now_ms=time.time_ns() // 1_000_000)

    def metrics(self) -> MetricsState:
        state = MetricsState()
        count_predictions(state, self.tallies)
        measure_table(state, self.table, index=self.index, age_s=self.follower.age_s)
        measure_process(
            state,
            self.recorder,
            self.shadower,
            connections=len(self.server.connections),
            turned_away=self.server.ticker.turned_away,
            loop_lag_s=self.loop_lag_s,
        )
        count_pins(state, self.pin_counts)
        measure_bodies(state, self.requests, self.replies)
        self.accuracies.measure(state)
        if self.exporter is not None:
            count_spans(state, self.exporter)
        return state


async def _logged(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run for ever; a bug is logged and the work begins again."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("%s stopped by a bug; it starts again", name)
            await asyncio.sleep(1)


async def serve_until_signal(
    process: GatewayProcess, sock: socket.socket, on_ready: Callable[[], None]
) -> None:
    """Serve until SIGTERM or SIGINT, then end in good order; a second signal ends at once."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def end() -> None:
        if ended.is_set():
            os._exit(1)
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    async with serve_state(state_path(process.settings, process.index), process.metrics):
        await process.start(sock)
        on_ready()
        await ended.wait()
        await process.stop()
