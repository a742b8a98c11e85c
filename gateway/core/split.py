"""Which version of a weighted split gets a request: by the unit (sticky) or by a random draw.

The rule for units is weighted rendezvous hashing: every version gets the score -weight / ln(h), where h in
(0, 1) is a hash of salt, unit and version, and the highest score wins. A version's score depends on nothing
but its own weight, so that raising one weight moves only units *to* that version, exactly as many as it must.
Source: Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005; Highest Random Weight.

h is (8-byte BLAKE2b of salt NUL version NUL unit, read big-endian, plus one half) / 2**64, so that anybody
can compute a decision again from the route and the unit.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from itertools import accumulate
from math import log
from typing import NamedTuple, Protocol

_HASH_SPAN = 2.0**64
REMEMBERED_UNITS = 16_384  # of one split: some 3 MB when full
REMEMBERED_BYTES = 128


class _Hash(Protocol):
    def copy(self) -> "_Hash": ...
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


Seeded = tuple[tuple[str, float, _Hash], ...]  # version, weight, hash state after salt and version


@dataclass(frozen=True, slots=True)
class Split:
    """Versions with weight above 0, ready for decisions; `single` is set where there is nothing to decide."""

    single: str | None
    versions: tuple[str, ...]
    upto: tuple[float, ...]  # cumulative weights, percent
    seeded: Seeded
    remembered: Callable[[bytes], str]

    def of_unit(self, unit: bytes) -> str:
        """`by_unit`, remembered for short units: they come again, that is what stickiness is for."""
        return self.remembered(unit) if len(unit) <= REMEMBERED_BYTES else by_unit(self, unit)


def compile_split(weights: Iterable[tuple[str, float]], *, salt: str) -> Split:
    """`weights`: versions with percents that sum to 100."""
    used = [(version, weight) for version, weight in weights if weight > 0]
    seeded = tuple((version, weight, _seed(salt, version)) for version, weight in used)
    return Split(
        single=used[0][0] if len(used) == 1 else None,
        versions=tuple(version for version, _ in used),
        upto=tuple(accumulate(weight for _, weight in used)),
        seeded=seeded,
        remembered=lru_cache(REMEMBERED_UNITS)(partial(_best, seeded)),
    )


def _seed(salt: str, version: str) -> _Hash:
    return blake2b(salt.encode() + b"\0" + version.encode() + b"\0", digest_size=8)


def by_unit(split: Split, unit: bytes) -> str:
    """The version that this unit sticks to as long as the weights stay."""
    return _best(split.seeded, unit)


def _best(seeded: Seeded, unit: bytes) -> str:
    chosen = ""
    least = float("inf")
    for version, weight, seed in seeded:
        state = seed.copy()
        state.update(unit)
        # -ln(h) / weight is the inverse of the score: the least wins.
        distance = -log((int.from_bytes(state.digest()) + 0.5) / _HASH_SPAN) / weight
        if distance < least:
            least = distance
            chosen = version
    return chosen


class Distance(NamedTuple):
    """How far a unit is from a version: -ln(hash) / weight, the inverse of the score. The nearest wins."""

    version: str
    weight: float  # percent
    hash: float  # in (0, 1)
    distance: float


def distances(split: Split, unit: bytes) -> tuple[Distance, ...]:
    """The numbers behind `by_unit`, for people; it does not call this: a request pays for each call."""
    found = []
    for version, weight, seeded in split.seeded:
        state = seeded.copy()
        state.update(unit)
        share = (int.from_bytes(state.digest()) + 0.5) / _HASH_SPAN
        found.append(Distance(version, weight, share, -log(share) / weight))
    return tuple(found)


def by_draw(split: Split, draw: float) -> str:
    """`draw` is uniform in [0, 1)."""
    index = bisect_right(split.upto, draw * split.upto[-1])
    return split.versions[min(index, len(split.versions) - 1)]
