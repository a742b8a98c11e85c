"""One worker's life, from its command line to its exit code: the one place where its objects are made.

Bind, announce `starting`, load and warm up the model in a thread, announce `ready`, serve. At SIGTERM or
SIGINT: announce `draining`, keep accepting for the grace, finish what is in flight, withdraw the lease, exit
0. A second signal ends the process at once. Every expected failure is a `TurnoutError` with one sentence.

Called by `gateway.cli.processes.worker`.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import uvloop
from pydantic import ValidationError
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.envelope import Envelope
from gateway.contract.errors import CallerError, UpstreamError
from gateway.contract.pool import Lease, WorkerState
from gateway.contract.signature import Signature
from gateway.contract.version import Version
from gateway.traces.export import Exporter
from gateway.wire.limits import Limits
from gateway.wire.server import HttpServer
from gateway.wire.tasks import end_tasks
from workers.announce import Announcer
from workers.artifact import inspect
from workers.batcher import Batcher, Bounds
from workers.batching import Run
from workers.pages import make_app
from workers.reach import AWAY, connect, reason
from workers.runtimes.onnx import OnnxModel
from workers.server import WorkerProtocol
from workers.service import Service
from workers.settings import LOOPBACK, WorkerSettings
from workers.stores.checked import read_artifact, read_registered
from workers.traced import TracedBatcher, TracedWorkerProtocol
from workers.warmup import Warmth, warm_up

log = logging.getLogger("turnout.worker")
KEEP_ALIVE_S = 75.0  # longer than a gateway keeps an idle connection (20 s): the side that sends closes first
SECOND_SIGNAL_EXIT = 1
NEAR_NAME_BYTES = 100  # of the 108 that unix(7) allows
WILDCARDS = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True, slots=True)
class Assignment:
    """What this worker is to serve. `model_file`: serve this file alone, without Redis."""

    model: str
    version: str
    worker_id: str = ""
    port: int = 0
    model_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    signature: Signature
    digest: str
    run: Run
    warmth: Warmth


def run_worker(assignment: Assignment, settings: WorkerSettings) -> None:
    """Until a signal; raises TurnoutError when the worker cannot start."""
    uvloop.run(Worker(assignment, settings).live())


class Worker:
    def __init__(self, assignment: Assignment, settings: WorkerSettings) -> None:
        self.assignment = assignment
        self.settings = settings
        self.service = Service(assignment.model, assignment.version)
        self.worker_id = assignment.worker_id or f"{assignment.model}-{assignment.version}-{uuid4().hex[:8]}"
        self.exporter: Exporter | None = None
        if settings.traces.is_on:
            resource = {"service.name": "turnout-worker", "service.instance.id": self.worker_id}
            named = {"turnout.model": assignment.model, "turnout.version": assignment.version}
            self.exporter = Exporter(settings.traces, resource | named)
            self.service.tally.spans = self.exporter
        self._stop = asyncio.Event()
        self._is_inside = False  # a thread is inside the runtime although the worker ends

    async def live(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        redis = None if self.assignment.model_file else connect(self.settings.redis_url, name=self.worker_id)
        try:
            if redis is not None:
                version = await registered(redis, self.assignment.model, self.assignment.version)
                self.service.set_digest(version.digest)
            sock = listen(self.settings, self.assignment.port)
            await self._serve(redis, sock)
        finally:
            if redis is not None:
                await redis.aclose()
        if self._is_inside:  # a thread inside the runtime cannot be interrupted, and is not waited for
            os._exit(0)

    def _signalled(self) -> None:
        if self._stop.is_set():
            os._exit(SECOND_SIGNAL_EXIT)
        self._stop.set()

    async def _serve(self, redis: Redis | None, sock: socket.socket) -> None:
        protocol = self._protocol()
        limits = Limits(body_bytes=self.settings.max_body_bytes, keep_alive_s=KEEP_ALIVE_S)
        server = HttpServer(protocol, make_app(self.service), limits=limits)
        near = None if redis is None else listen_near(self.settings, self.worker_id)
        await server.start(sock, near=near)
        exporting = None if self.exporter is None else asyncio.create_task(self.exporter.run(), name="traces")
        announcer = None if redis is None else Announcer(redis, self._lease(server.port, near))
        if announcer is not None:
            announcer.start()
        try:
            loaded = await self._load()
            if loaded is None:
                self._is_inside = True
                log.info("%s %s was told to end while it was loading", *self._names())
                return
            self._make_ready(loaded)
            if announcer is not None:
                announcer.say(WorkerState.READY)
            log.info("%s %s is ready on %s:%d", *self._names(), self.settings.host, server.port)
            await self._stop.wait()
            self._begin_drain(announcer)
            was_clean = await server.drain(
                grace_s=self.settings.drain_grace_s, deadline_s=self.settings.drain_deadline_s
            )
            self._is_inside = not was_clean
            log.info("%s %s has ended%s", *self._names(), "" if was_clean else "; connections were cut off")
        finally:
            if announcer is not None:
                await announcer.withdraw()
            if self.exporter is not None and exporting is not None:
                await end_tasks([exporting])
                await self.exporter.finish()

    def _protocol(self) -> type[WorkerProtocol]:
        if self.exporter is None:
            return type("Protocol", (WorkerProtocol,), {"service": self.service})
        parts = {"service": self.service, "exporter": self.exporter}
        return type("Protocol", (TracedWorkerProtocol,), parts)

    def _batcher(self, loaded: Loaded, bounds: Bounds) -> Batcher:
        if self.exporter is None:
            return Batcher(loaded.run, loaded.warmth.costs, bounds, self.service.tally)
        batcher = TracedBatcher(loaded.run, loaded.warmth.costs, bounds, self.service.tally)
        batcher.exporter = self.exporter
        return batcher

    async def _load(self) -> Loaded | None:
        """Load and warm up in a thread; None if the worker was told to stop meanwhile."""
        file, digest = self.assignment.model_file, self.service.digest
        loading = asyncio.ensure_future(asyncio.to_thread(load, file, digest, self.settings))
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return loading.result() if loading.done() else None

    def _make_ready(self, loaded: Loaded) -> None:
        warmth = loaded.warmth
        settings = self.settings
        bounds = Bounds(
            max_rows=warmth.max_rows,
            max_delay_s=settings.max_delay_ms / 1000,
            max_queue_requests=settings.max_queue_requests,
            max_queue_rows=settings.max_queue_rows,
            inline_limit_us=settings.inline_limit_us,
            is_uniform=all(-1 not in spec.shape[1:] for spec in loaded.signature.inputs),
        )
        self.service.serve(loaded.signature, self._batcher(loaded, bounds), loaded.digest)
        gc.collect()
        gc.freeze()  # what was loaded stays: the collector need not walk it again
        log.info(
            "%s %s: one row takes %.0f us, each further one %.2f us; batching: %s",
            *self._names(), warmth.costs.of(1), warmth.costs.row_us, warmth.why,
        )  # fmt: skip

    def _begin_drain(self, announcer: Announcer | None) -> None:
        self.service.state = WorkerState.DRAINING
        if announcer is not None:
            announcer.say(WorkerState.DRAINING)
        log.info("%s %s is draining", *self._names())

    def _names(self) -> tuple[str, str]:
        return self.assignment.model, self.assignment.version

    def _lease(self, port: int, near: socket.socket | None) -> Lease:
        return Lease(
            worker_id=self.worker_id,
            model=self.assignment.model,
            version=self.assignment.version,
            digest=self.service.digest,
            host=self.settings.advertise_host or self.settings.host,
            port=port,
            pid=os.getpid(),
            state=WorkerState.STARTING,
            started_ms=int(time.time() * 1000),
            near="" if near is None else near.getsockname()[1:].decode(),
            weight=self.settings.weight,
        )


def load(file: Path | None, digest: str, settings: WorkerSettings) -> Loaded:
    """In a thread: this file, or without one the registered one of this digest, as a warm model."""
    limit = settings.max_artifact_bytes
    data, found = (
        read_registered(settings.artifacts_dir, settings.artifacts_url, digest, max_bytes=limit)
        if file is None
        else read_artifact(file, digest=None, max_bytes=limit)
    )
    signature = inspect(data).signature
    model = OnnxModel(data, signature, threads=settings.intra_op_threads)
    warmth = warm_up(model.run, signature, max_batch_rows=settings.max_batch_rows)
    return Loaded(signature, found, model.run, warmth)


async def registered(redis: Redis, model: str, version: str) -> Version:
    """The version's document. Raises TurnoutError when Redis or the version is not there."""
    try:
        raw = await redis.hget(keys.DOCUMENTS, keys.version_field(model, version))
    except AWAY as error:
        raise UpstreamError("store_away", f"Redis does not answer: {reason(error)}") from None
    if raw is None:
        raise CallerError("unknown_version", f"{model} has no version {version}: register it first")
    try:
        return Version.model_validate(Envelope.model_validate_json(raw).doc)
    except ValidationError:
        raise CallerError(
            "invalid_document",
            f"the document of {model} {version} in Redis is not readable: register it again",
        ) from None


def listen_near(settings: WorkerSettings, worker_id: str) -> socket.socket | None:
    """A bound abstract Unix socket; None where others than loopback may come, or without Linux."""
    if not sys.platform.startswith("linux") or (settings.advertise_host or settings.host) not in LOOPBACK:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.bind(f"\0turnout-{worker_id}"[:NEAR_NAME_BYTES])
    except OSError as error:
        log.warning("no Unix socket for gateways nearby, they will use TCP: %s", error.strerror)
        sock.close()
        return None
    return sock


def listen(settings: WorkerSettings, port: int) -> socket.socket:
    """A bound socket. Raises CallerError if the address is taken, or open to everybody by mistake."""
    host = settings.host
    if host not in LOOPBACK and not settings.allow_unauthenticated:
        raise CallerError(
            "refused",
            f"{host} can be reached from elsewhere and workers have no authentication: listen on 127.0.0.1, "
            "or add --allow-unauthenticated where only gateways can reach it",
        )
    if host in WILDCARDS and not settings.advertise_host:
        raise CallerError(
            "bad_request", f"{host} is no address that gateways could connect to: add --advertise-host"
        )
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        raise CallerError(
            "bad_request",
            f"cannot listen on {host}:{port} ({error.strerror}): free it or give another --port",
        ) from None
    sock.setblocking(False)
    return sock
