"""Durations counted in buckets that are 2 % wide: they add up over processes, and give quantiles.

A quantile is at most 2 % too high, and never above the longest. Pure; written by the driver, read by results.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

GROWTH = 1.02
_LOG = math.log(GROWTH)
_SPREAD = 1.96  # standard deviations: 95 %


class Histogram:
    """Of microseconds; what is shorter than one counts as one."""

    __slots__ = ("counts", "max_us", "n", "sum_us")

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.n = 0
        self.sum_us = 0.0
        self.max_us = 0.0

    def add(self, us: float, count: int = 1) -> None:
        us = max(us, 1.0)
        self.counts[int(math.log(us) / _LOG)] += count
        self.n += count
        self.sum_us += us * count
        self.max_us = max(self.max_us, us)

    def merge(self, other: "Histogram") -> None:
        self.counts.update(other.counts)
        self.n += other.n
        self.sum_us += other.sum_us
        self.max_us = max(self.max_us, other.max_us)

    @property
    def mean_us(self) -> float | None:
        return self.sum_us / self.n if self.n else None

    def quantile(self, share: float) -> float | None:
        """Microseconds that this share of all are at or below; None of nothing."""
        return self._of_rank(math.ceil(share * self.n)) if self.n else None

    def interval(self, share: float) -> tuple[float, float] | None:
        """Where the quantile is with 95 %, were all of them independent: by the rank that chance allows."""
        if not self.n:
            return None
        middle, spread = share * self.n, _SPREAD * math.sqrt(self.n * share * (1 - share))
        return self._of_rank(math.floor(middle - spread)), self._of_rank(math.ceil(middle + spread) + 1)

    def _of_rank(self, rank: int) -> float:
        left = min(max(1, rank), self.n)
        for bucket, count in sorted(self.counts.items()):
            left -= count
            if left <= 0:
                return min(GROWTH ** (bucket + 1), self.max_us)
        return self.max_us

    def corrected(self, expected_us: float) -> "Histogram":
        """With the requests that a closed loop left out while one took longer than `expected_us`.

        A client that meant to send every `expected_us` sent none during a long answer; each that is missing
        would have waited for what was left of it (the correction of HdrHistogram).
        """
        found = Histogram()
        found.merge(self)
        if expected_us <= 0:
            return found
        for bucket, count in self.counts.items():
            missing_us = min(GROWTH ** (bucket + 1), self.max_us) - expected_us
            while missing_us >= expected_us:
                found.add(missing_us, count)
                missing_us -= expected_us
        return found

    def to_json(self) -> dict[str, Any]:
        counts = {str(bucket): count for bucket, count in self.counts.items()}
        return {"counts": counts, "sum_us": self.sum_us, "max_us": self.max_us}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Histogram":
        built = cls()
        built.counts.update({int(bucket): int(count) for bucket, count in found["counts"].items()})
        built.n = sum(built.counts.values())
        built.sum_us, built.max_us = float(found["sum_us"]), float(found["max_us"])
        return built
