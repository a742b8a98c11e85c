"""How far the outputs of two versions are apart: total variation distance with an interval for all looks.

The one place through which `core.gate_readings` gets it. Each output's share is bounded for both versions;
the distance is at least half the sum of the least differences, and at most half the sum of the largest. While
k outputs have been seen, each is tested at alpha / (k (k + 1)): the j-th to come up never has more than
alpha / (j (j + 1)), and all together never more than alpha.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import fsum

from gateway.core.statistics import Interval, rate_interval


@dataclass(frozen=True, slots=True)
class DriftFound:
    distance: float
    interval: Callable[[float], Interval]
    reference_n: float
    current_n: float
    outputs: int  # different ones


def drift_interval(
    reference: Iterable[Mapping[str, float]], current: Iterable[Mapping[str, float]], *, alpha: float
) -> DriftFound | None:
    """None without outputs of either."""
    first, second = _sum(reference), _sum(current)
    n, m = fsum(first.values()), fsum(second.values())
    if n <= 0 or m <= 0:
        return None
    outputs = sorted(first.keys() | second.keys())
    k = len(outputs)
    each = alpha / (k * (k + 1)) / 2

    def interval(factor: float) -> Interval:
        least = most = 0.0
        for output in outputs:
            one = rate_interval(factor * first.get(output, 0.0), factor * n, alpha=each)
            other = rate_interval(factor * second.get(output, 0.0), factor * m, alpha=each)
            least += max(0.0, one.low - other.high, other.low - one.high)
            most += max(one.high - other.low, other.high - one.low)
        return Interval(least / 2, min(1.0, most / 2))

    shares = [abs(first.get(output, 0.0) / n - second.get(output, 0.0) / m) for output in outputs]
    return DriftFound(fsum(shares) / 2, interval, n, m, k)


def _sum(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        for output, count in part.items():
            total[output] += max(0.0, count)
    return {output: count for output, count in total.items() if count > 0}
