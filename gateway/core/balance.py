"""Which worker of a pool gets a request: the less busy of two drawn at random, by weight where weights
differ.

Two choices avoid both the herd (everybody picks the momentarily best) and the cost of looking at all.
Source: Mitzenmacher, "The power of two choices in randomized load balancing", 2001.

A worker's weight is what its lease says, times how far it has warmed up (`ramp`), times how its latency
compares with the fastest of its pool (`pace`). Both draws go by weight, and so does the comparison: a worker
of a tenth of the weight gets a tenth of the requests when all are idle, and a tenth of the load when none is.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

RAMP_FROM = 0.1  # a fresh worker's share of its weight; Envoy's `min_weight_percent`
SLOW = 2.0  # times the fastest of the pool: up to here a latency is put down to chance
FORGET = 0.99  # each look (four a second): from ten times the fastest back to chance in some 40 s
LEAST_PACE = 0.001  # so that a slow worker still gets a request now and then, and is seen to have recovered


class Loaded(Protocol):
    @property
    def in_flight(self) -> int: ...


class Weighted(Loaded, Protocol):
    @property
    def weight(self) -> float: ...


W = TypeVar("W", bound=Loaded)
V = TypeVar("V", bound=Weighted)


def least_of_two(workers: Sequence[W], draw: float) -> W:
    """All weigh the same. `workers` is not empty; `draw` is uniform in [0, 1)."""
    count = len(workers)
    if count == 1:
        return workers[0]
    pair = int(draw * count * (count - 1))  # one draw names an ordered pair of different workers
    first, second = divmod(pair, count - 1)
    one = workers[first]
    other = workers[second if second < first else second + 1]
    return one if one.in_flight <= other.in_flight else other


def least_of_two_by_weight(workers: Sequence[V], upto: Sequence[float], draw: float, again: float) -> V:
    """`upto`: cumulative weights of `workers`; `draw` and `again` are uniform in [0, 1)."""
    last = len(workers) - 1
    one = workers[min(last, bisect_right(upto, draw * upto[-1]))]
    other = workers[min(last, bisect_right(upto, again * upto[-1]))]
    return one if one.in_flight * other.weight <= other.in_flight * one.weight else other


def ramp(age_s: float, slow_start_s: float) -> float:
    """How much of its weight a worker has `age_s` after it became ready: linear from `RAMP_FROM` to 1."""
    if age_s >= slow_start_s:
        return 1.0
    return max(RAMP_FROM, age_s / slow_start_s)


def forgotten(latency_us: float, fastest_us: float) -> float:
    """What is left of a slow worker's latency that no answer has confirmed for one more look: it nears the
    fastest one of the pool, so that a worker which is hardly ever asked is tried again."""
    return max(fastest_us, latency_us * FORGET) if latency_us > fastest_us > 0 else latency_us


def paces(latencies_us: Iterable[float]) -> list[float]:
    """What each worker's latency (0 = not known) does to its weight: (fastest / own) cubed once it is slow.

    Cubed, because a worker that is ten times slower must get less than one request in a hundred before the
    pool's 99th percentile recovers.
    """
    known = list(latencies_us)
    fastest = min((latency for latency in known if latency > 0), default=0.0)
    return [
        max(LEAST_PACE, (fastest / latency) ** 3) if latency > SLOW * fastest else 1.0 for latency in known
    ]
