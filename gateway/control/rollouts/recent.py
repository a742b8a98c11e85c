"""Evidence of the models in rollout, without reading all of it twice a second.

The newest minutes are read each time. Older ones still change, because labels come late, so a few of them
are read again each time, in turn. What is kept here is a copy: a process that starts reads everything.
Called by `control.rollouts.observe`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.store.predictions import Predictions

NEWEST = 3  # minutes that are read each time
IN_TURN = 20  # older minutes read each time: those of an hour are at most 2 s old, of a day 36 s


@dataclass(slots=True)
class Recent:
    """Of one model since one minute."""

    predictions: Predictions
    model: str
    first_minute: int
    _minutes: dict[int, dict[str, float]] = field(default_factory=dict)
    _read_upto: int | None = None
    _turn: int = 0

    async def upto(self, minute: int) -> Mapping[int, Mapping[str, float]]:
        """Minute -> sums, from the first to `minute`."""
        newest = max(self.first_minute, minute - NEWEST + 1)
        is_first = self._read_upto is None
        await self._read(self.first_minute if is_first else min(newest, self._read_upto or 0), minute)
        if newest > self.first_minute:
            await self._read_in_turn(newest - 1)
        self._read_upto = minute
        return self._minutes

    async def _read_in_turn(self, last: int) -> None:
        first = self.first_minute + self._turn
        if first > last:
            first = self.first_minute
        upto = min(last, first + IN_TURN - 1)
        await self._read(first, upto)
        self._turn = upto + 1 - self.first_minute

    async def _read(self, first: int, last: int) -> None:
        self._minutes |= await self.predictions.evidence(self.model, first, last)
