"""Who still chooses versions that end: counts by version, caller and day, kept for two weeks.

A caller is a key (`key <id>`), where keys are off an address (`address <host>`), and beyond a bound `others`.
Counts may be a little high: a note whose answer was lost is made again. Called by gateways (note) and by the
control API (read).
"""

from collections.abc import Mapping

from redis.asyncio import Redis

from gateway.contract import keys
from gateway.store.connection import answers, ask
from gateway.store.scripts import Argument, Script

DAYS_KEPT = 14
MOST_CALLERS = 1000  # of one model and day
OTHERS = "others"
DAY_S = 86_400

_PINS = Script.load("pins.lua")


class Pins:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def note(self, model: str, day: int, counts: Mapping[tuple[str, str], int]) -> None:
        """`day`: Unix time // 86,400; `counts`: (version, caller) -> how often."""
        arguments: list[Argument] = [(DAYS_KEPT + 1) * DAY_S, MOST_CALLERS, f"|{OTHERS}"]
        for (version, caller), number in counts.items():
            arguments += (version, f"{version}|{caller}", number)
        await _PINS.run(self._redis, [keys.pins(model, day)], arguments)

    async def read(self, model: str, days: range) -> dict[tuple[str, str], tuple[int, int]]:
        """(version, caller) -> how often in these days, and the last of them."""
        pipeline = self._redis.pipeline(transaction=False)
        for day in days:
            pipeline.hgetall(keys.pins(model, day))
        with answers():
            replies = await pipeline.execute()
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for day, counts in zip(days, replies, strict=True):
            for field, number in counts.items():
                version, _, caller = field.decode("utf-8", "replace").partition("|")
                before, last = found.get((version, caller), (0, day))
                found[version, caller] = (before + int(number), max(last, day))
        return found

    async def today(self) -> int:
        """By Redis' clock, which all processes share."""
        seconds, _ = await ask(self._redis, "TIME")
        return int(seconds) // DAY_S
