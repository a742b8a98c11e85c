"""When a load test's requests are due, or how many users it has: phases of a level that is constant or ramps.

In an open loop a level is requests a second, and each request is due at a time that answers do not move; in a
closed loop it is users. Pure: chance comes as `gap`. Called by the driver, the scenario and the report.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """The level goes in a straight line from `start` to `end` within `for_s`."""

    for_s: float
    start: float
    end: float

    @property
    def area(self) -> float:
        """Requests that are due within this phase of an open loop."""
        return (self.start + self.end) / 2 * self.for_s

    def level(self, at_s: float) -> float:
        return self.start + (self.end - self.start) * at_s / self.for_s

    def when(self, area: float) -> float:
        """When so many requests of this phase are due: the root of start·t + slope/2·t² = area."""
        slope = (self.end - self.start) / self.for_s
        below = self.start + math.sqrt(max(0.0, self.start**2 + 2 * slope * area))
        return 0.0 if below <= 0 else 2 * area / below


def total_s(phases: Sequence[Phase]) -> float:
    return sum(phase.for_s for phase in phases)


def level_at(phases: Sequence[Phase], at_s: float) -> float:
    """0 before the first and after the last phase."""
    begun_s = 0.0
    for phase in phases:
        if begun_s <= at_s < begun_s + phase.for_s:
            return phase.level(at_s - begun_s)
        begun_s += phase.for_s
    return 0.0


def arrivals(
    phases: Sequence[Phase], *, index: int = 0, of: int = 1, gap: Callable[[], float] | None = None
) -> Iterator[float]:
    """Seconds from the start at which process `index` of `of` is to send, in order.

    Without `gap` all processes together are evenly spaced. `gap` draws from an exponential distribution of
    mean 1 (`lambda: random.expovariate(1)`): arrivals are then those of independent clients.
    """
    begun_s, begun_area = 0.0, 0.0
    wanted = float(index) if gap is None else gap() * of
    for phase in phases:
        while wanted < begun_area + phase.area:
            yield begun_s + phase.when(wanted - begun_area)
            wanted += of if gap is None else gap() * of
        begun_area += phase.area
        begun_s += phase.for_s


def share_of(level: float, *, index: int, of: int) -> int:
    """How many of so many users belong to process `index` of `of`."""
    users = round(level)
    return users // of + (index < users % of)
