"""A supervisor's word about itself in Redis: how many workers it has, and where it cannot have as many as it
should. Control tells it in `turnout pools` and `turnout status`. Called by `workers.supervisor`.

With its first word it takes away that of a predecessor which was killed, since pools are said to want workers
for each supervisor. One that lives in the same place after all says its own again within `poll_s`.
"""

import logging
import os
import socket
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.pool import STAMPED_HSET, Lack, Supervision
from workers.reach import AWAY, reason
from workers.staffing import Pool

log = logging.getLogger("turnout.supervisor")


class Report:
    def __init__(self, redis: Redis, *, folder: Path, max_workers: int) -> None:
        self._redis = redis
        self._has_told = False
        self._told = Supervision(
            supervisor_id=f"{socket.gethostname()}-{uuid4().hex[:8]}",
            host=socket.gethostname(),
            folder=str(folder.absolute()),
            pid=os.getpid(),
            started_ms=int(time.time() * 1000),
            workers=0,
            max_workers=max_workers,
        )

    async def tell(self, *, workers: int, lacks: dict[Pool, Lack]) -> None:
        """Without Redis nobody hears it."""
        named = {f"{model} {version}": lack for (model, version), lack in lacks.items()}
        told = self._told.model_copy(update={"workers": workers, "lacks": named})
        entry = told.model_dump_json(exclude={"seen_ms"})
        try:
            await self._redis.eval(STAMPED_HSET, 1, keys.SUPERVISORS, told.supervisor_id, entry, "", "")
            if not self._has_told:
                await self._take_place()
                self._has_told = True
        except AWAY as error:
            log.debug("nobody was told: %s", reason(error))

    async def _take_place(self) -> None:
        entries: dict[Any, Any] = await self._redis.hgetall(keys.SUPERVISORS)
        own = self._told
        for supervisor_id, entry in entries.items():
            if supervisor_id.decode() != own.supervisor_id and _place(entry) == (own.host, own.folder):
                await self._redis.hdel(keys.SUPERVISORS, supervisor_id)

    async def withdraw(self) -> None:
        try:
            await self._redis.hdel(keys.SUPERVISORS, self._told.supervisor_id)
        except AWAY as error:
            log.debug("the entry runs out by itself: %s", reason(error))


def _place(entry: bytes) -> tuple[str, str] | None:
    """Host and folder of a supervisor's entry; None where it is not one of ours."""
    try:
        told: Any = orjson.loads(entry.partition(b" ")[2])
        return str(told["host"]), str(told["folder"])
    except (ValueError, KeyError, TypeError):
        return None
