"""A supervisor's word about itself in Redis: how many workers it has, and where it cannot have as many as it
should. Control tells it in `turnout pools` and `turnout status`. Called by `workers.supervisor`.
"""

import logging
import os
import socket
import time
from uuid import uuid4

from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.pool import STAMPED_HSET, Lack, Supervision
from workers.reach import AWAY, reason
from workers.staffing import Pool

log = logging.getLogger("turnout.supervisor")


class Report:
    def __init__(self, redis: Redis, *, max_workers: int) -> None:
        self._redis = redis
        self._told = Supervision(
            supervisor_id=f"{socket.gethostname()}-{uuid4().hex[:8]}",
            host=socket.gethostname(),
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
        except AWAY as error:
            log.debug("nobody was told: %s", reason(error))

    async def withdraw(self) -> None:
        try:
            await self._redis.hdel(keys.SUPERVISORS, self._told.supervisor_id)
        except AWAY as error:
            log.debug("the entry runs out by itself: %s", reason(error))
