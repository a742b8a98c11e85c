"""Evidence of the models in rollout, without reading or adding up all of it twice a second.

The newest minutes are read each time. Older ones still change, because labels come late, so a few of them
are read again each time, in turn. Totals of windows are kept and corrected by what changed in a minute. All
of it is a copy: a process that starts reads everything. Called by `control.rollouts.observe`.
"""

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gateway.store.predictions import Predictions

NEWEST = 3  # minutes that are read each time
IN_TURN = 20  # older minutes read each time: those of an hour are at most 2 s old, of a day 36 s

Sums = Mapping[str, float]
NONE: Sums = {}


@dataclass(slots=True)
class Total:
    """Of the minutes from `first` to `last`."""

    first: int
    last: int
    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def correct(self, before: Sums, now: Sums) -> None:
        for name, value in now.items():
            had = before.get(name, 0.0)
            if value != had:
                self.sums[name] += value - had


@dataclass(slots=True)
class Recent:
    """Of one model since one minute."""

    predictions: Predictions
    model: str
    first_minute: int
    _minutes: dict[int, Sums] = field(default_factory=dict)
    _totals: dict[str, Total] = field(default_factory=dict)
    _read_upto: int | None = None
    _turn: int = 0

    async def read(self, minute: int) -> None:
        """What is new, `minute` being the present one."""
        newest = max(self.first_minute, minute - NEWEST + 1)
        is_first = self._read_upto is None
        await self._read(self.first_minute if is_first else min(newest, self._read_upto or 0), minute)
        if newest > self.first_minute and not is_first:
            await self._read_in_turn(newest - 1)
        self._read_upto = minute

    def minute(self, minute: int) -> Sums:
        return self._minutes.get(minute, NONE)

    def total(self, window: str, first: int, last: int) -> Sums:
        """Of these minutes; one total is kept for each name of a window."""
        total = self._totals.get(window)
        if total is None or total.first != first or total.last > last:
            total = self._totals[window] = Total(first, first - 1)
        for minute in self._known(total.last + 1, last):
            total.correct(NONE, self._minutes[minute])
        total.last = max(total.last, last)
        return total.sums

    def _known(self, first: int, last: int) -> Iterable[int]:
        return (minute for minute in range(first, last + 1) if minute in self._minutes)

    async def _read_in_turn(self, last: int) -> None:
        first = self.first_minute + self._turn
        if first > last:
            first = self.first_minute
        upto = min(last, first + IN_TURN - 1)
        await self._read(first, upto)
        self._turn = upto + 1 - self.first_minute

    async def _read(self, first: int, last: int) -> None:
        """Gates ask for no confusion counts, which are most of the fields."""
        found = await self.predictions.evidence(
            self.model, first, last, whole_hours=False, with_confusion=False
        )
        for minute, sums in found.items():
            before = self._minutes.get(minute, NONE)
            now = {sys.intern(name): value for name, value in sums.items()}
            for total in self._totals.values():
                if total.first <= minute <= total.last:
                    total.correct(before, now)
            self._minutes[minute] = now
