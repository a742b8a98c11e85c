"""A worker's lease in Redis: where it is, what it serves, in which state.

Renewed every `HEARTBEAT_S`, and at once when the state changes; only changes are published. Redis may be away
for any time: the worker serves on, says so once, and announces itself again when Redis is back. The lease is
withdrawn at the end; that of a killed worker runs out by Redis' clock.

Called by `workers.app`.
"""

import asyncio
import logging
import time

from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.pool import HEARTBEAT_S, STAMPED_HSET, Lease, WorkerState
from workers.reach import AWAY, reason

log = logging.getLogger("turnout.worker")
MESSAGE = "workers"


class Announcer:
    """Owns the lease, and the task that renews it between `start` and `withdraw`.

    The task is never cancelled: redis-py sends with `asyncio.wait_for`, which up to Python 3.11 swallows a
    cancellation that comes as the send completes, and the worker would wait for its end for ever.
    """

    def __init__(self, redis: Redis, lease: Lease) -> None:
        self._redis = redis
        self._lease = lease
        self._is_told = asyncio.Event()  # the current state has to be written now
        self._is_told.set()
        self._is_away = False
        self._is_over = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._renew(), name="announce")

    def say(self, state: WorkerState) -> None:
        """The worker's state changed."""
        self._lease = self._lease.model_copy(update={"state": state})
        self._is_told.set()

    async def _renew(self) -> None:
        while not self._is_over:
            is_change = self._is_told.is_set() or self._is_away
            self._is_told.clear()
            await self._write(is_change=is_change)
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._is_told.wait()
            except TimeoutError:
                continue

    async def _write(self, *, is_change: bool) -> None:
        said = self._lease.model_copy(update={"at_ms": time.time_ns() // 1_000_000})
        lease = said.model_dump_json(exclude={"seen_ms"})
        channel = (keys.CHANGES, MESSAGE) if is_change else ("", "")
        try:
            await self._redis.eval(STAMPED_HSET, 1, keys.WORKERS, self._lease.worker_id, lease, *channel)
        except AWAY as error:
            if not self._is_away:
                log.warning("Redis is away, serving on: %s", reason(error))
            self._is_away = True
            return
        if self._is_away:
            log.info("Redis is back")
        self._is_away = False

    async def withdraw(self) -> None:
        """The last word: the worker is no longer there."""
        self._is_over = True
        self._is_told.set()
        if self._task is not None:
            await self._task
        await forget(self._redis, self._lease.worker_id)


async def forget(redis: Redis, worker_id: str) -> None:
    """Take a worker's lease away and tell the gateways; without Redis it runs out by itself."""
    try:
        async with redis.pipeline(transaction=True) as pipe:
            pipe.hdel(keys.WORKERS, worker_id)
            pipe.publish(keys.CHANGES, MESSAGE)
            await pipe.execute()
    except AWAY as error:
        log.info("the lease of %s was not withdrawn (%s); it runs out by itself", worker_id, reason(error))
