"""When each key was used last, to the minute: told by whoever admitted it, off the path of requests.

Called by gateways and by the control process (note), and for `turnout key list` (read).
"""

from collections.abc import Sequence

from redis.asyncio import Redis

from gateway.contract import keys
from gateway.store.connection import ask


class KeyUses:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def note(self, key_ids: Sequence[str], *, now_ms: int) -> None:
        """At least one id."""
        told = [part for key_id in key_ids for part in (key_id, now_ms)]
        await ask(self._redis, "HSET", keys.KEY_USES, *told)

    async def read(self) -> dict[str, int]:
        """Key id -> Unix time in ms."""
        found: dict[bytes, bytes] = await ask(self._redis, "HGETALL", keys.KEY_USES)
        return {name.decode("utf-8", "replace"): int(ms) for name, ms in found.items() if ms.isdigit()}

    async def forget(self, key_id: str) -> None:
        await ask(self._redis, "HDEL", keys.KEY_USES, key_id)
