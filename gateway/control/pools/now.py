"""The pools as they are now, read from Redis for `pools.report` to join. Called by handlers and metrics.

Of 10,000 versions few need workers: what concerns all of them asks for `active`. Those that are idle are told
as they were told last, until a document of their model changes.
"""

import asyncio
from collections.abc import Callable

import orjson

from gateway.control.pools.report import Pool, Pools, by_pool
from gateway.control.registry.catalogue import Catalogue
from gateway.store.fleet import FleetStore

AT_ONCE = 200  # pools that are put into words before others get their turn: a few ms


class PoolsNow:
    def __init__(self, fleet: FleetStore, catalogue: Catalogue) -> None:
        self._fleet = fleet
        self._catalogue = catalogue

    async def read(self) -> Pools:
        workers = await self._fleet.workers()
        supervisors = await self._fleet.supervisors()
        known = await self._catalogue.known()
        return Pools(workers.now_ms, self._catalogue.revision, known, by_pool(workers.leases), supervisors)


async def told_pools(pools: Pools, *, sees: Callable[[str], bool]) -> list[orjson.Fragment]:
    """Every pool of the models that the caller may see, as JSON, in the alphabet's order."""
    active: dict[str, dict[str, orjson.Fragment]] = {}
    for pool in pools.active():
        active.setdefault(pool.model, {})[pool.version] = _told(pool)
    told: list[orjson.Fragment] = []
    new = 0
    for model in sorted(filter(sees, {*pools.known, *active})):
        found = active.get(model, {})
        known = pools.known.get(model)
        if known is not None:
            for version in {*known.versions, *known.wanted} - known.idle.keys() - found.keys():
                known.idle[version] = _told(pools.pool(model, version))
                new += 1
            found = known.idle | found
        told += (found[version] for version in sorted(found))
        if new >= AT_ONCE:
            new = 0
            await asyncio.sleep(0)
    return told


def _told(pool: Pool) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(pool))
