"""Keeps the workers alive on this machine that are needed.

Two loops: one reads what is needed (`workers.wishes`) and tells what is there (`workers.report`), the other
looks after the children ten times a second (`workers.staffing` decides, this module acts). Without Redis it
keeps what runs and restarts what crashes. At SIGTERM or SIGINT every child is told to drain, and the
supervisor ends when they have. A second signal kills them.

Called by `gateway.cli.processes.supervisor`.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import uvloop

from gateway.contract.errors import UpstreamError
from gateway.contract.pool import Lack
from workers.announce import forget
from workers.fetch import fetch
from workers.lacks import Failure, lacks
from workers.launchers.process import Launch, Process, ending, launch
from workers.reach import connect
from workers.report import Report
from workers.settings import SupervisorSettings, WorkerSettings, dump
from workers.staffing import (
    Action,
    Backoff,
    Kill,
    Member,
    Patience,
    Pool,
    Refuse,
    Start,
    Stop,
    after_crash,
    decide,
)
from workers.stores.local import artifact_path
from workers.wishes import Wishes

log = logging.getLogger("turnout.supervisor")
TICK_S = 0.1  # how soon the end of a child is noticed
STARTING_S = 10.0  # an older worker is ready, or takes so long that its command should not wait for it
WORDS_LENGTH = 400  # of a worker's last line, where it is told


@dataclass(slots=True)
class Child:
    member: Member
    process: Process


def run_supervisor(settings: SupervisorSettings, worker: WorkerSettings) -> None:
    """Until a signal."""
    uvloop.run(Supervisor(settings, worker, launch).live())


class Supervisor:
    """`worker`: the settings that every worker gets."""

    def __init__(self, settings: SupervisorSettings, worker: WorkerSettings, launch: Launch) -> None:
        self._settings = settings
        self._worker = worker
        self._launch = launch
        self._patience = Patience(
            settings.first_backoff_s,
            settings.max_backoff_s,
            settings.healthy_after_s,
            settings.quick_failures,
            settings.quarantine_s,
        )
        self._redis = connect(settings.redis_url, name=f"supervisor-{os.getpid()}")
        self._wishes = Wishes(self._redis, keep_warm_s=settings.keep_warm_s)
        self._report = Report(self._redis, folder=worker.artifacts_dir, max_workers=settings.max_workers)
        self._children: dict[str, Child] = {}
        self._failures: dict[Pool, Failure] = {}
        self._refused: set[Pool] = set()
        self._fetching: set[Pool] = set()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def live(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        polling = asyncio.create_task(self._poll(), name="wishes")
        log.info("supervisor is up")
        try:
            while not self._stop.is_set():
                self._keep(self._wishes.current)
                await self._pause(TICK_S)
            await self._end_children()
        finally:
            self._stop.set()
            await asyncio.gather(polling, *self._tasks, return_exceptions=True)
            await self._report.withdraw()
            await self._redis.aclose()
        log.info("supervisor has ended")

    def _signalled(self) -> None:
        if self._stop.is_set():
            for child in self._children.values():
                child.process.kill()
        self._stop.set()

    async def _poll(self) -> None:
        """Ends by itself: a cancelled call of redis-py may carry on (see `workers.announce`)."""
        while not self._stop.is_set():
            await self._wishes.poll()
            await self._report.tell(workers=len(self._children), lacks=self._lacks(time.monotonic()))
            await self._pause(self._settings.poll_s)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _end_children(self) -> None:
        log.info("supervisor is draining %d workers", len(self._children))
        while self._children:
            self._keep({})
            await asyncio.sleep(TICK_S / 2)

    def _keep(self, wanted: dict[Pool, int] | None) -> None:
        """Notice who has ended, then do what is to be done. `wanted` None: nothing is known yet."""
        now = time.monotonic()
        for worker_id in [w for w, child in self._children.items() if child.process.poll() is not None]:
            self._bury(worker_id, now)
        if wanted is None:
            return
        for pool in [pool for pool, known in self._failures.items() if self._is_forgiven(pool, known)]:
            del self._failures[pool]
        members = [child.member for child in self._children.values()]
        backoffs = {pool: failure.backoff for pool, failure in self._failures.items()}
        self._refused.clear()
        for action in decide(wanted, members, backoffs, now, most=self._settings.max_workers):
            self._do(action, now)

    def _is_forgiven(self, pool: Pool, failure: Failure) -> bool:
        """Somebody asked again after a crash loop was told."""
        return failure.backoff.is_loop and self._wishes.asked_at(pool) > failure.asked_at

    def _bury(self, worker_id: str, now: float) -> None:
        child = self._children.pop(worker_id)
        code = child.process.poll()
        member = child.member
        assert code is not None
        if code != 0:  # it could not withdraw its lease itself: gateways need not wait for the lease to end
            self._spawn(forget(self._redis, worker_id), name=f"forget-{worker_id}")
        if member.stop_by_s is not None:
            log.info("worker %s has ended (%s)", worker_id, ending(code))
            return
        words = child.process.last_words() if code > 0 else ""
        why = ending(code) + (f": {words[:WORDS_LENGTH]}" if words else "")
        # One that was told to end by somebody else, and did, failed at nothing.
        lived_s = now - member.started_s if code else self._patience.healthy_s
        backoff = self._fail(member.pool, why, lived_s=lived_s, now=now)
        log.warning(
            "worker %s (pid %d) ended by itself (%s); the next starts in %.1f s%s",
            worker_id, child.process.pid, ending(code), backoff.not_before_s - now,
            f": {backoff.crashes} quick failures in a row" if backoff.is_loop else "",
        )  # fmt: skip

    def _fail(self, pool: Pool, why: str, *, lived_s: float, now: float) -> Backoff:
        before = self._failures.get(pool)
        backoff = after_crash(
            None if before is None else before.backoff, lived_s=lived_s, now_s=now, patience=self._patience
        )
        self._failures[pool] = Failure(why, backoff, self._wishes.asked_at(pool))
        return backoff

    def _do(self, action: Action, now: float) -> None:
        match action:
            case Start(pool):
                if not self._must_fetch(pool):
                    self._start(pool, now)
            case Refuse(pool):
                self._refused.add(pool)
            case Stop(worker_id):
                child = self._children[worker_id]
                child.member = replace(child.member, stop_by_s=now + self._settings.stop_deadline_s)
                child.process.terminate()
                log.info("worker %s is told to end", worker_id)
            case Kill(worker_id):
                self._children[worker_id].process.kill()
                log.warning("worker %s did not end in time and was killed", worker_id)

    def _start(self, pool: Pool, now: float) -> None:
        model, version = pool
        worker_id = f"{model}-{version}-{uuid4().hex[:8]}"
        command = [sys.executable, "-m", "gateway.cli.main", "worker", "--model", model, "--version", version]
        command += ["--worker-id", worker_id]
        try:
            process = self._launch(command, dump(self._worker))
        except OSError as error:
            self._fail(pool, f"no process could be started: {error.strerror}", lived_s=0, now=now)
            log.error("a worker of %s %s could not be started: %s", model, version, error.strerror)
            return
        self._children[worker_id] = Child(Member(worker_id, pool, now), process)
        log.info("worker %s was started (pid %d)", worker_id, process.pid)

    def _must_fetch(self, pool: Pool) -> bool:
        """Its model file is not here yet, and is on its way from now on."""
        digest = self._wishes.digest_of(pool)
        if pool in self._fetching:
            return True
        if self._worker.artifacts_url or not (self._settings.control_url and digest):
            return False
        if artifact_path(self._worker.artifacts_dir, digest).exists():
            return False
        self._fetching.add(pool)
        self._spawn(self._fetch(pool, digest), name=f"fetch-{digest[:12]}")
        return True

    async def _fetch(self, pool: Pool, digest: str) -> None:
        model, version = pool
        settings = self._settings
        address = f"{settings.control_url.rstrip('/')}/api/v1/models/{model}/versions/{version}/artifact"
        try:
            await asyncio.to_thread(
                fetch,
                address,
                settings.control_key,
                digest=digest,
                directory=self._worker.artifacts_dir,
                max_bytes=self._worker.max_artifact_bytes,
                should_stop=self._stop.is_set,
            )
            log.info("the model file of %s %s was fetched", model, version)
        except UpstreamError as error:
            backoff = self._fail(pool, error.message, lived_s=0, now=time.monotonic())
            log.warning("%s; try %d", error.message, backoff.crashes)
        finally:
            self._fetching.discard(pool)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> None:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _lacks(self, now: float) -> dict[Pool, Lack]:
        members = [child.member for child in self._children.values()]
        working = Counter(member.pool for member in members if member.stop_by_s is None)
        return lacks(
            self._wishes.current or {},
            working,
            failures=self._failures,
            refused=self._refused,
            fetching=self._fetching,
            most=self._settings.max_workers,
            is_draining=working.total() < len(members),
            starting={member.pool for member in members if now - member.started_s < STARTING_S},
            now_s=now,
        )
