"""When do all gateways serve a revision?

Gateways announce the revision they serve as soon as they have switched to it; the control process reads the
announcements every few milliseconds until the last live gateway has caught up. A gateway that is gone drops
out when its presence ends.
"""

import asyncio
import time
from dataclasses import dataclass

from gateway.contract.pool import Presence
from gateway.store.fleet import FleetStore

POLL_S = 0.0025  # a switch takes a few milliseconds; reading the announcements takes 0.2 ms


@dataclass(frozen=True, slots=True)
class Stale:
    gateway_id: str
    address: str
    revision: int


@dataclass(frozen=True, slots=True)
class Applied:
    """`gateways` of `of` live ones serve the revision; `ms` counts from the moment before the commit."""

    complete: bool
    gateways: int
    of: int
    ms: float
    stale: tuple[Stale, ...]


async def wait_until_served(fleet: FleetStore, revision: int, *, within_s: float, since: float) -> Applied:
    """`since` is `time.perf_counter()` before the commit. Returns at the latest `within_s` from now."""
    limit = time.perf_counter() + within_s
    while True:
        applied = _applied(await fleet.gateways(), revision, ms=(time.perf_counter() - since) * 1000)
        if applied.complete or time.perf_counter() >= limit:
            return applied
        await asyncio.sleep(POLL_S)


def _applied(gateways: list[Presence], revision: int, *, ms: float) -> Applied:
    stale = tuple(
        Stale(gateway.gateway_id, gateway.address, gateway.revision)
        for gateway in gateways
        if gateway.revision < revision
    )
    return Applied(not stale, len(gateways) - len(stale), len(gateways), round(ms, 1), stale)
