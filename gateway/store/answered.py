"""Answers that are kept for a while, so that a repeated request gets the first one again.

Knows nothing of what an answer means. Called by `gateway.control.repeated`.
"""

from redis.asyncio import Redis

from gateway.contract import keys
from gateway.store.connection import ask
from gateway.store.documents import OPERATION_KEPT_S


class Answered:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, op_id: str) -> bytes | None:
        found: bytes | None = await ask(self._redis, "GET", keys.answered(op_id))
        return found

    async def keep(self, op_id: str, answer: bytes) -> None:
        """The first one stays."""
        await ask(self._redis, "SET", keys.answered(op_id), answer, "NX", "EX", OPERATION_KEPT_S)
