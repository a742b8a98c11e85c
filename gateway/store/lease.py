"""Who leads the rollouts, and what only the leader may write.

One process holds the lease for a few seconds at a time, by Redis' clock. Each new holder gets a larger
fencing number, and every write of a leader carries it (`Documents.commit`, `Leases.note`): one that was
stopped and wakes up after another took over is refused by Redis itself, however sure it is to lead.
Called by the rollout controller; `progress` also by the control API.
"""

from dataclasses import dataclass

from pydantic import ValidationError
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.errors import FencedError
from gateway.contract.rollout import Progress
from gateway.store.connection import ask
from gateway.store.scripts import Script

_LEASE = Script.load("lease.lua")
_LEADER = Script.load("leader.lua")
_NOTE = Script.load("note.lua")


@dataclass(frozen=True, slots=True)
class Leadership:
    """`holder` leads with `fence`; `is_mine`: it is the one who asked."""

    is_mine: bool
    fence: int
    holder: str


class Leases:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def take(self, holder: str, *, lasts_s: float) -> Leadership:
        """Takes the lease if it is free, or makes it last again if `holder` has it."""
        is_mine, fence, who, _ = await _LEASE.run(self._redis, [keys.LEASE], [holder, int(lasts_s * 1000)])
        return Leadership(bool(is_mine), fence, who.decode("utf-8", "replace"))

    async def give_up(self, holder: str) -> None:
        """The next one need not wait for its end."""
        await _LEASE.run(self._redis, [keys.LEASE], [holder, 0])

    async def leader(self) -> str | None:
        """Who leads now; None where nobody does, so that no rollout moves."""
        holder = await _LEADER.run(self._redis, [keys.LEASE])
        return holder.decode("utf-8", "replace") or None

    async def note(self, model: str, progress: Progress, *, fence: int) -> None:
        """Writes the progress; raises `FencedError` once another controller leads."""
        await self._write(keys.progress(model), progress.model_dump_json(), fence=fence)

    async def progress(self, model: str) -> Progress | None:
        """As noted last; None where there is none, or one that cannot be read: losing it costs time only."""
        raw = await ask(self._redis, "GET", keys.progress(model))
        try:
            return None if raw is None else Progress.model_validate_json(raw)
        except ValidationError:
            return None

    async def notified(self) -> int | None:
        """The revision up to which webhooks were told; None: never."""
        raw = await ask(self._redis, "GET", keys.NOTIFIED)
        return int(raw) if raw is not None and raw.isdigit() else None

    async def note_notified(self, revision: int, *, fence: int) -> None:
        await self._write(keys.NOTIFIED, str(revision), fence=fence)

    async def _write(self, key: str, value: str, *, fence: int) -> None:
        match await _NOTE.run(self._redis, [keys.LEASE, key], [fence, value]):
            case [b"fenced", current, who]:
                raise FencedError(holder=who.decode("utf-8", "replace"), fence=int(current))
