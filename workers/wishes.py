"""How many workers of each version are wanted, read from Redis.

The documents are read only when the revision has moved. While Redis is away, empty, or older than what was
seen before (a lost table), the last good answer stands: nobody is stopped because Redis was.

Called by `workers.supervisor`.
"""

import logging
from typing import Any

import orjson
from pydantic import ValidationError
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.pool import Wanted
from workers.reach import AWAY, reason
from workers.staffing import Pool

log = logging.getLogger("turnout.supervisor")


class Wishes:
    """`current` is None until Redis has answered once."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._revision = -1
        self._trouble = ""
        self.current: dict[Pool, int] | None = None

    async def poll(self) -> None:
        try:
            revision = int(await self._redis.get(keys.REVISION) or 0)
            if revision == self._revision:
                self._well()
                return
            if revision < self._revision:
                self._say(f"Redis is at revision {revision} after {self._revision}: its table was lost")
                return
            fields: Any = await self._redis.hgetall(keys.DOCUMENTS)
        except AWAY as error:
            self._say(f"Redis is away ({reason(error)})")
            return
        except ValueError:
            self._say(f"the key {keys.REVISION} holds no number")
            return
        self.current = read(fields, self.current or {})
        self._revision = revision
        self._well()

    def _say(self, trouble: str) -> None:
        kind = trouble.partition("(")[0]
        if kind != self._trouble:
            log.warning("%s: keeping the workers that are wanted so far", trouble)
        self._trouble = kind

    def _well(self) -> None:
        if self._trouble:
            log.info("Redis is back at revision %d", self._revision)
        self._trouble = ""


def read(fields: dict[bytes, bytes], last: dict[Pool, int]) -> dict[Pool, int]:
    """Wanted counts of registered versions; one that cannot be read keeps what it was before."""
    wanted: dict[Pool, int] = {}
    for field, raw in fields.items():
        kind, _, name = field.decode("utf-8", "replace").partition("/")
        model, _, version = name.partition("/")
        if kind != "wanted":
            continue
        pool = (model, version)
        if keys.version_field(model, version).encode() not in fields:
            log.warning("workers of %s %s are wanted, but no such version is registered", model, version)
            continue
        try:
            envelope: Any = orjson.loads(raw)
            wanted[pool] = Wanted.model_validate(envelope["doc"]).workers
        except (ValueError, KeyError, TypeError, ValidationError):
            log.warning("the wanted number of workers of %s %s in Redis is not readable", model, version)
            if pool in last:
                wanted[pool] = last[pool]
    return wanted
