"""Which worker of a pool gets a request: the one with fewer requests in flight of two drawn at random.

Two choices avoid both the herd (everybody picks the momentarily best) and the cost of looking at all.
Source: Mitzenmacher, "The power of two choices in randomized load balancing", 2001.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Loaded(Protocol):
    @property
    def in_flight(self) -> int: ...


Worker = TypeVar("Worker", bound=Loaded)


def least_of_two(workers: Sequence[Worker], draw: float) -> Worker:
    """`workers` is not empty; `draw` is uniform in [0, 1)."""
    count = len(workers)
    if count == 1:
        return workers[0]
    pair = int(draw * count * (count - 1))  # one draw names an ordered pair of different workers
    first, second = divmod(pair, count - 1)
    one = workers[first]
    other = workers[second if second < first else second + 1]
    return one if one.in_flight <= other.in_flight else other
