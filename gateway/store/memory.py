"""How much memory Redis uses, and how much it may use. Called by the control process' metrics."""

from dataclasses import dataclass

from redis.asyncio import Redis

from gateway.store.connection import ask


@dataclass(frozen=True, slots=True)
class Memory:
    """`limit_bytes` 0: the server has none."""

    used_bytes: int
    limit_bytes: int


class MemoryUse:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def read(self) -> Memory | None:
        """None where the server does not tell, as some hosted ones. Raises UpstreamError."""
        told = await ask(self._redis, "INFO", "memory")
        if not isinstance(told, dict):
            return None
        used, limit = told.get("used_memory"), told.get("maxmemory", 0)
        return Memory(used, limit) if isinstance(used, int) and isinstance(limit, int) else None
