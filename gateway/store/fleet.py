"""Which processes are there: workers by their leases, gateways and supervisors by their word.

All are judged by `contract.pool.is_present` and by Redis' clock, read in the same script as the entries, so
that no two machines' clocks are ever compared. Called by gateways (workers, announce_gateway) and by the
control API (all of it).
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.pool import (
    FORGOTTEN_S,
    STAMPED_HSET,
    Lease,
    Presence,
    Supervision,
    is_present,
)
from gateway.store.connection import ask
from gateway.store.scripts import Script

_STAMP = Script(STAMPED_HSET)
_READ = Script.load("read_stamped.lua")
_SWEEP = Script.load("sweep.lua")

Process = TypeVar("Process", Lease, Presence, Supervision)


@dataclass(frozen=True, slots=True)
class Fleet:
    """`leases`: workers that are alive; `ended`: those whose lease ran out; both by Redis' `now_ms`."""

    now_ms: int
    leases: list[Lease]
    ended: list[Lease]


class FleetStore:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def workers(self) -> Fleet:
        """Every worker known, split by whether its lease lasts."""
        now_ms, known = await self._read(keys.WORKERS, Lease)
        return Fleet(
            now_ms,
            leases=[lease for lease in known if is_present(lease.seen_ms, now_ms)],
            ended=[lease for lease in known if not is_present(lease.seen_ms, now_ms)],
        )

    async def gateways(self) -> list[Presence]:
        """The gateway processes that are alive, by id."""
        now_ms, known = await self._read(keys.GATEWAYS, Presence)
        return [presence for presence in known if is_present(presence.seen_ms, now_ms)]

    async def supervisors(self) -> list[Supervision]:
        """The supervisors that are alive, by id."""
        now_ms, known = await self._read(keys.SUPERVISORS, Supervision)
        return [told for told in known if is_present(told.seen_ms, now_ms)]

    async def known_gateways(self) -> tuple[int, list[Presence]]:
        """Redis' time in ms, and every gateway process that did not say that it ends: silent ones, too."""
        now_ms, known = await self._read(keys.GATEWAYS, Presence)
        return now_ms, [one for one in known if one.seen_ms >= now_ms - FORGOTTEN_S * 1000]

    async def announce_gateway(self, presence: Presence) -> int:
        """Says that this gateway process is alive; gives Redis' time in ms."""
        entry = presence.model_dump_json(exclude={"seen_ms"})
        now_ms: int = await _STAMP.run(self._redis, [keys.GATEWAYS], [presence.gateway_id, entry, "", ""])
        return now_ms

    async def forget_worker(self, worker_id: str) -> None:
        """Ends a worker's lease now and tells everybody."""
        await ask(self._redis, "HDEL", keys.WORKERS, worker_id)
        await ask(self._redis, "PUBLISH", keys.CHANGES, "workers")

    async def forget_gateway(self, gateway_id: str) -> None:
        await ask(self._redis, "HDEL", keys.GATEWAYS, gateway_id)

    async def sweep(self) -> int:
        """Drops entries older than `FORGOTTEN_S`; gives their number."""
        gone: int = await _SWEEP.run(
            self._redis, [keys.WORKERS, keys.GATEWAYS, keys.SUPERVISORS], [int(FORGOTTEN_S * 1000)]
        )
        return gone

    async def _read(self, key: str, kind: type[Process]) -> tuple[int, list[Process]]:
        now_ms, flat = await _READ.run(self._redis, [key])
        found = (_process(stamped, kind) for _, stamped in sorted(zip(flat[::2], flat[1::2], strict=True)))
        return now_ms, [process for process in found if process is not None]


def _process(stamped: bytes, kind: type[Process]) -> Process | None:
    """None where the entry is not one of ours: a foreign entry must not hide the others."""
    seen_ms, _, entry = stamped.partition(b" ")
    try:
        told: Any = orjson.loads(entry)
        return kind.model_validate(told | {"seen_ms": int(seen_ms)})
    except (ValueError, TypeError, ValidationError):
        return None
