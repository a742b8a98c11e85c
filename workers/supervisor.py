"""Keeps the wanted number of workers alive on this machine.

Two loops: one reads what is wanted (`workers.wishes`), the other looks after the children ten times a second
(`workers.staffing` decides, this module acts). Without Redis it keeps what runs and restarts what crashes. At
SIGTERM or SIGINT every child is told to drain, and the supervisor ends when they have. A second signal kills
them.

Called by `gateway.cli.supervisor`.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from uuid import uuid4

import uvloop
from redis.asyncio import Redis

from workers.announce import forget
from workers.launchers.process import Launch, Process, ending, launch
from workers.reach import connect
from workers.settings import SupervisorSettings, WorkerSettings, dump
from workers.staffing import Action, Backoff, Kill, Member, Patience, Pool, Start, Stop, after_crash, decide
from workers.wishes import Wishes

log = logging.getLogger("turnout.supervisor")
TICK_S = 0.1  # how soon the end of a child is noticed


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
        self._patience = Patience(settings.first_backoff_s, settings.max_backoff_s, settings.healthy_after_s)
        self._children: dict[str, Child] = {}
        self._backoffs: dict[Pool, Backoff] = {}
        self._stop = asyncio.Event()
        self._forgetting: set[asyncio.Task[None]] = set()

    async def live(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        redis = connect(self._settings.redis_url, name=f"supervisor-{os.getpid()}")
        wishes = Wishes(redis)
        polling = asyncio.create_task(self._poll(wishes), name="wishes")
        log.info("supervisor is up")
        try:
            while not self._stop.is_set():
                self._keep(redis, wishes.current)
                await self._pause(TICK_S)
            await self._end_children(redis)
        finally:
            self._stop.set()
            await asyncio.gather(polling, *self._forgetting, return_exceptions=True)
            await redis.aclose()
        log.info("supervisor has ended")

    def _signalled(self) -> None:
        if self._stop.is_set():
            for child in self._children.values():
                child.process.kill()
        self._stop.set()

    async def _poll(self, wishes: Wishes) -> None:
        """Ends by itself: a cancelled call of redis-py may carry on (see `workers.announce`)."""
        while not self._stop.is_set():
            await wishes.poll()
            await self._pause(self._settings.poll_s)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _end_children(self, redis: Redis) -> None:
        log.info("supervisor is draining %d workers", len(self._children))
        while self._children:
            self._keep(redis, {})
            await asyncio.sleep(TICK_S / 2)

    def _keep(self, redis: Redis, wanted: dict[Pool, int] | None) -> None:
        """Notice who has ended, then do what is to be done. `wanted` None: nothing is known yet."""
        now = time.monotonic()
        for worker_id in [w for w, child in self._children.items() if child.process.poll() is not None]:
            self._bury(redis, worker_id, now)
        if wanted is None:
            return
        members = [child.member for child in self._children.values()]
        for action in decide(wanted, members, self._backoffs, now):
            self._do(action, now)

    def _bury(self, redis: Redis, worker_id: str, now: float) -> None:
        child = self._children.pop(worker_id)
        code = child.process.poll()
        member = child.member
        assert code is not None
        if code != 0:  # it could not withdraw its lease itself: gateways need not wait for the lease to end
            task = asyncio.create_task(forget(redis, worker_id), name=f"forget-{worker_id}")
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)
        if member.stop_by_s is not None:
            log.info("worker %s has ended (%s)", worker_id, ending(code))
            return
        backoff = after_crash(
            self._backoffs.get(member.pool),
            lived_s=now - member.started_s,
            now_s=now,
            patience=self._patience,
        )
        self._backoffs[member.pool] = backoff
        log.warning(
            "worker %s (pid %d) ended by itself (%s); the next starts in %.1f s",
            worker_id, child.process.pid, ending(code), backoff.not_before_s - now,
        )  # fmt: skip

    def _do(self, action: Action, now: float) -> None:
        match action:
            case Start(pool):
                self._start(pool, now)
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
            backoff = after_crash(self._backoffs.get(pool), lived_s=0, now_s=now, patience=self._patience)
            self._backoffs[pool] = backoff
            log.error("a worker of %s %s could not be started: %s", model, version, error.strerror)
            return
        self._children[worker_id] = Child(Member(worker_id, pool, now), process)
        log.info("worker %s was started (pid %d)", worker_id, process.pid)
