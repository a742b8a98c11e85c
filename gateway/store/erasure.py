"""Erasing what is kept of one unit's predictions, or of predictions named by their ids.

Records lie in buckets without an index: whoever erases looks through all buckets of the model, which costs
Redis about 0.1 ms for each hundred predictions, in short scripts, and nothing while nobody erases. Records go
last, so that an act that was cut off finds the rest of its way again when it is repeated.

Called by the control API (`api.erasure`).
"""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass

import orjson
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.record import UNIT_SUFFIX, Place, id_of, place_of
from gateway.store.connection import ask
from gateway.store.scripts import Argument, Script

BUCKETS_AT_ONCE = 20  # of at most 512 fields each: a few ms of Redis' time
RECORDS_AT_ONCE = 200
SCANNED_AT_ONCE = 1000  # keys that Redis looks at in one step

_FIND = Script.load("find_unit.lua")
_ERASE = Script.load("erase.lua")


@dataclass(frozen=True, slots=True)
class Erased:
    """How much went; `samples`: recent request bodies, of which nobody knows whose they were."""

    predictions: int
    samples: int
    disagreements: int
    corrections: int


@dataclass(frozen=True, slots=True)
class _Found:
    """Where that lies which shall go; `disagreements`: entries by key."""

    places: tuple[Place, ...]
    samples: int
    disagreements: dict[str, list[bytes]]
    corrections: list[bytes]


class Erasure:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def erase(self, model: str, *, mark: bytes | None, ids: Iterable[str] = ()) -> Erased:
        """All records with this mark (`contract.record.unit_mark`), and those of these ids.

        Repeating it does no harm. Raises `UpstreamError("store_away")`: then a part may have gone.
        """
        found = await self._find(model, mark=mark, ids=ids)
        await ask(self._redis, "DEL", keys.samples(model))
        for key, entries in found.disagreements.items():
            await ask(self._redis, "ZREM", key, *entries)
        corrections = 0
        for entry in found.corrections:
            corrections += int(await ask(self._redis, "LREM", keys.corrections(model), 0, entry))
        records = await self._erase_records(model, found.places)
        disagreements = sum(map(len, found.disagreements.values()))
        return Erased(records, found.samples, disagreements, corrections)

    async def count(self, model: str, *, mark: bytes | None, ids: Iterable[str] = ()) -> Erased:
        """What `erase` would erase now."""
        found = await self._find(model, mark=mark, ids=ids)
        records = 0
        for place in found.places:
            key = keys.predictions(model, place.bucket)
            records += int(await ask(self._redis, "HEXISTS", key, place.field))
        disagreements = sum(map(len, found.disagreements.values()))
        return Erased(records, found.samples, disagreements, len(found.corrections))

    async def _find(self, model: str, *, mark: bytes | None, ids: Iterable[str]) -> _Found:
        places = {place_of(prediction_id) for prediction_id in ids}
        apart = []
        prefix, differing = keys.predictions(model, ""), keys.disagreements(model, "", "")[:-1]
        async for found in self._keys_of(model):
            apart += [key for key in found if key.startswith(differing)]
            if mark is not None:
                places |= await self._places(found, prefix, mark)
        named = {id_of(*place) for place in places}
        disagreements = {
            key: entries
            for key in dict.fromkeys(apart)
            if (entries := await self._disagreements(model, key, named, is_unit=mark is not None))
        }
        return _Found(
            places=tuple(places),
            samples=int(await ask(self._redis, "LLEN", keys.samples(model))),
            disagreements=disagreements,
            corrections=[
                entry
                for entry in await ask(self._redis, "LRANGE", keys.corrections(model), 0, -1)
                if _told_id(entry) in named
            ],
        )

    async def _keys_of(self, model: str) -> AsyncIterator[list[str]]:
        """Every key that is there all the while; some may come twice."""
        cursor = b"0"
        while True:
            cursor, found = await ask(
                self._redis, "SCAN", cursor, "MATCH", keys.of_model(model), "COUNT", SCANNED_AT_ONCE
            )
            yield [key.decode("utf-8", "replace") for key in found]
            if int(cursor) == 0:
                return

    async def _places(self, found: Sequence[str], prefix: str, mark: bytes) -> set[Place]:
        buckets = [key for key in found if key.startswith(prefix)]
        places: set[Place] = set()
        for first in range(0, len(buckets), BUCKETS_AT_ONCE):
            at_once = buckets[first : first + BUCKETS_AT_ONCE]
            flat = await _FIND.run(self._redis, at_once, [mark])
            for number, field in zip(flat[::2], flat[1::2], strict=True):
                places.add(Place(at_once[int(number) - 1].removeprefix(prefix), field))
        return places

    async def _disagreements(
        self, model: str, key: str, named: Collection[str], *, is_unit: bool
    ) -> list[bytes]:
        """Those of these predictions; where a unit is erased, also those of which nobody can say whose they
        are."""
        return [
            entry
            for entry in await ask(self._redis, "ZRANGE", key, 0, -1)
            if (prediction_id := _told_id(entry)) in named
            or (is_unit and not await self._has_unit(model, prediction_id))
        ]

    async def _has_unit(self, model: str, prediction_id: str) -> bool:
        place = place_of(prediction_id)
        key = keys.predictions(model, place.bucket)
        return bool(await ask(self._redis, "HEXISTS", key, place.field + UNIT_SUFFIX))

    async def _erase_records(self, model: str, places: Sequence[Place]) -> int:
        erased = 0
        for first in range(0, len(places), RECORDS_AT_ONCE):
            at_once = places[first : first + RECORDS_AT_ONCE]
            names = [keys.predictions(model, place.bucket) for place in at_once]
            arguments: list[Argument] = [part for place in at_once for part in place]
            erased += int(await _ERASE.run(self._redis, [*names, keys.waiting(model)], arguments))
        return erased


def _told_id(entry: bytes) -> str:
    """The prediction id of a disagreement or a correction; "" where it says none."""
    try:
        return str(orjson.loads(entry)["prediction_id"])
    except (ValueError, TypeError, KeyError):
        return ""
