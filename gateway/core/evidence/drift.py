"""Whether answers or inputs have moved away from a reference, without labels: counts of the same bins, twice.

The distance is total variation: the share of the current values that would have to be in another bin. `doubt`
is an anytime-valid p-value for "both were drawn from one distribution": an alarm at `doubt <= alpha` is false
with probability at most alpha, however often somebody looks, though the reference is only a sample itself and
whichever of the two grows when. Half of the capital bets on single bins (the product of two arms' martingales
for that bin's rate, `core.evidence.rates`), half on all bins at once: each sample's marginal likelihood under
weights of Dirichlet(1/2, ...), divided by the likelihood under the best single distribution, which no true
one exceeds (universal inference).

Assumptions: values within a sample are independent and of one distribution; the bins do not depend on the
values. So a reference that is chosen for its bins must be another one than this: values of bins that were
not foreseen belong in one bin "other".

The bounds of the distance need no such care: while k bins have been seen, each is tested at alpha /
(k (k + 1)): the j-th to come up never has more than alpha / (j (j + 1)), all together never more than alpha.

Sources: Krichevsky, Trofimov, "The performance of universal encoding" (1981); Wasserman, Ramdas,
Balakrishnan, "Universal inference" (2020); Ville (1939). Gates ask `shift`, alarms `drift`. It knows counts
only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.core.evidence.rates import log_evidence_of_difference
from gateway.core.evidence.statistics import Interval, log_mixture, rate_interval

_LARGEST = 5  # bins named as those that moved most

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Shift:
    """Two samples over the same bins: the count of each bin in both, and how many values either has."""

    bins: Sequence[str]
    counts: Sequence[Pair]
    reference_n: float
    current_n: float

    @property
    def distance(self) -> float:
        """In [0, 1]."""
        return math.fsum(abs(moved.current_share - moved.reference_share) for moved in self.moved()) / 2

    def moved(self) -> list["Moved"]:
        return [
            Moved(name, before / self.reference_n, after / self.current_n)
            for name, (before, after) in zip(self.bins, self.counts, strict=True)
        ]

    def interval(self, *, alpha: float, factor: float = 1.0) -> Interval:
        """Of the distance, at every look, as if every count were `factor` times as large: at least half the
        sum of the least changes of all bins, at most half the sum of the largest."""
        k = len(self.bins)
        each = alpha / (k * (k + 1)) / 2
        n, m = factor * self.reference_n, factor * self.current_n
        least = most = 0.0
        for before, after in self.counts:
            first = rate_interval(factor * before, n, alpha=each)
            second = rate_interval(factor * after, m, alpha=each)
            least += max(0.0, first.low - second.high, second.low - first.high)
            most += max(first.high - second.low, second.high - first.low)
        return Interval(least / 2, min(1.0, most / 2))


@dataclass(frozen=True, slots=True)
class Moved:
    """One bin and the shares of both samples in it."""

    bin: str
    reference_share: float
    current_share: float


@dataclass(frozen=True, slots=True)
class Drift:
    """`distance` in [0, 1] with bounds that hold at every look; `largest` are the bins that moved most."""

    distance: float
    low: float
    high: float
    doubt: float
    reference_n: float
    current_n: float
    largest: tuple[Moved, ...]


def shift(reference: Mapping[str, float], current: Mapping[str, float]) -> Shift | None:
    """Both are bin -> count; None where either is without values."""
    bins = sorted(
        name for name in reference.keys() | current.keys() if _count(reference, current, name) > (0, 0)
    )
    counts = [_count(reference, current, name) for name in bins]
    before, after = (math.fsum(pair[side] for pair in counts) for side in (0, 1))
    return Shift(bins, counts, before, after) if before > 0 and after > 0 else None


def drift(reference: Mapping[str, float], current: Mapping[str, float], *, alpha: float) -> Drift:
    """How far `current` is from `reference`, both bin -> count; without values nothing is claimed."""
    found = shift(reference, current)
    if found is None:
        return Drift(0.0, 0.0, 1.0, 1.0, math.fsum(reference.values()), math.fsum(current.values()), ())
    within = found.interval(alpha=alpha)
    return Drift(
        distance=found.distance,
        low=within.low,
        high=within.high,
        doubt=math.exp(-max(0.0, log_evidence(found.counts, (found.reference_n, found.current_n)))),
        reference_n=found.reference_n,
        current_n=found.current_n,
        largest=tuple(
            sorted(found.moved(), key=lambda bin_: -abs(bin_.current_share - bin_.reference_share))[:_LARGEST]
        ),
    )


def _count(reference: Mapping[str, float], current: Mapping[str, float], name: str) -> Pair:
    return max(0.0, reference.get(name, 0.0)), max(0.0, current.get(name, 0.0))


def log_evidence(counts: Sequence[Pair], sizes: Pair) -> float:
    """The logarithm of an e-value against "both samples are of one distribution"."""
    if len(counts) < 2:
        return 0.0
    single = log_mixture(
        log_evidence_of_difference((before, sizes[0]), (after, sizes[1])) for before, after in counts
    )
    whole = (
        log_marginal([before for before, _ in counts])
        + log_marginal([after for _, after in counts])
        - _log_best([before + after for before, after in counts])
    )
    return log_mixture((single - math.log(len(counts)), whole)) - math.log(2)


def log_marginal(counts: Sequence[float]) -> float:
    """Likelihood of a sequence with these counts, averaged over Dirichlet(1/2, ..., 1/2)."""
    bins = len(counts)
    return (
        math.lgamma(bins / 2)
        - math.lgamma(math.fsum(counts) + bins / 2)
        + math.fsum(math.lgamma(count + 0.5) - math.lgamma(0.5) for count in counts)
    )


def _log_best(counts: Sequence[float]) -> float:
    total = math.fsum(counts)
    return math.fsum(count * math.log(count / total) for count in counts if count > 0)
