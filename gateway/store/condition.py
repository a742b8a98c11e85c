"""How is the Redis server itself: what it says of its version, memory, persistence and speed.

Everything is read with INFO, which every managed service allows; CONFIG is asked for what INFO does not say,
and may be refused. Nothing is judged here: `control.doctor.judge` does. Called by `control.doctor.examine`.
"""

import statistics
import time
from dataclasses import dataclass

from redis.asyncio import Redis

from gateway.contract.errors import UpstreamError
from gateway.store.connection import answers, ask

PINGS = 5


@dataclass(frozen=True, slots=True)
class Condition:
    """`fsync` and `saves` are None where CONFIG is refused; `clock_ms` is Redis' clock less the caller's.

    `has_config_file`: there is a file that CONFIG REWRITE writes; the embedded server has none.
    """

    version: tuple[int, ...]
    name: str
    role: str
    policy: str
    maxmemory_bytes: int
    used_bytes: int
    has_aof: bool
    fsync: str | None
    saves: str | None
    aof_is_well: bool
    rewrite_is_well: bool
    save_is_well: bool
    is_rewriting: bool
    delayed_fsyncs: int
    knows_waitaof: bool
    ping_ms: float
    clock_ms: float
    has_config_file: bool


class Server:
    """The server behind a client."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def condition(self) -> Condition:
        """Raises `UpstreamError("store_away")`."""
        return await _condition(self._redis)


async def _condition(redis: Redis) -> Condition:
    with answers():
        info = await redis.info()
    times = []
    for _ in range(PINGS):
        began_s = time.perf_counter()
        await ask(redis, "PING")
        times.append(time.perf_counter() - began_s)
    before_s = time.time()
    seconds, micros = await ask(redis, "TIME")
    middle_s = (before_s + time.time()) / 2
    version = _version(str(info.get("redis_version", "0")))
    return Condition(
        version=version,
        name="Valkey" if info.get("server_name") == "valkey" else "Redis",
        role=str(info.get("role", "master")),
        policy=str(info.get("maxmemory_policy", "")),
        maxmemory_bytes=int(info.get("maxmemory", 0)),
        used_bytes=int(info.get("used_memory", 0)),
        has_aof=bool(info.get("aof_enabled", 0)),
        fsync=await _config(redis, "appendfsync"),
        saves=await _config(redis, "save"),
        aof_is_well=info.get("aof_last_write_status", "ok") == "ok",
        rewrite_is_well=info.get("aof_last_bgrewrite_status", "ok") == "ok",
        save_is_well=info.get("rdb_last_bgsave_status", "ok") == "ok",
        is_rewriting=bool(info.get("aof_rewrite_in_progress", 0)),
        delayed_fsyncs=int(info.get("aof_delayed_fsync", 0)),
        knows_waitaof=version >= (7, 2),
        ping_ms=round(statistics.median(times) * 1000, 3),
        clock_ms=round((int(seconds) + int(micros) / 1e6 - middle_s) * 1000, 1),
        has_config_file=bool(info.get("config_file")),
    )


async def _config(redis: Redis, name: str) -> str | None:
    try:
        found = await ask(redis, "CONFIG", "GET", name)
    except UpstreamError:
        return None
    values = list(found.values()) if isinstance(found, dict) else list(found[1::2])
    return values[0].decode("utf-8", "replace") if values else None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdecimal())
