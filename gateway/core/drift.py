"""Whether answers or inputs have moved away from a reference, without labels: counts of the same bins, twice.

The distance is total variation: the share of the current values that would have to be in another bin.
`doubt` is an anytime-valid p-value for "both were drawn from one distribution": an alarm at `doubt <=
alpha` is false with probability at most alpha, however often somebody looks, though the reference is only a
sample itself and whichever of the two grows when. Half of the capital bets on single bins (the product of
two arms' martingales for that bin's rate, `core.rates`), half on all bins at once: each sample's marginal
likelihood under weights of Dirichlet(1/2, ...), divided by the likelihood under the best single
distribution, which no true one exceeds (universal inference).

Assumptions: values within a sample are independent and of one distribution; the bins do not depend on the
values. So a reference that is chosen for its bins must be another one than this: values of bins that were
not foreseen belong in one bin "other".

Sources: Krichevsky, Trofimov, "The performance of universal encoding" (1981); Wasserman, Ramdas,
Balakrishnan, "Universal inference" (2020); Ville (1939). Called by gates and alarms. It knows counts only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.core.rates import log_evidence_of_difference, rate_difference
from gateway.core.statistics import log_mixture

_LARGEST = 5  # bins named as those that moved most

Pair = tuple[float, float]


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


def drift(reference: Mapping[str, float], current: Mapping[str, float], *, alpha: float) -> Drift:
    """How far `current` is from `reference`, both bin -> count; without values nothing is claimed."""
    bins = sorted(reference.keys() | current.keys())
    counts = [(max(0.0, reference.get(name, 0.0)), max(0.0, current.get(name, 0.0))) for name in bins]
    before, after = (math.fsum(pair[side] for pair in counts) for side in (0, 1))
    if before <= 0 or after <= 0:
        return Drift(0.0, 0.0, 1.0, 1.0, before, after, ())
    moved = [Moved(name, a / before, b / after) for name, (a, b) in zip(bins, counts, strict=True)]
    low, high = _bounds(counts, (before, after), alpha=alpha)
    distance = math.fsum(abs(_step(bin_)) for bin_ in moved) / 2
    return Drift(
        distance=distance,
        low=min(low, distance),
        high=max(high, distance),
        doubt=math.exp(-max(0.0, log_evidence(counts, (before, after)))),
        reference_n=before,
        current_n=after,
        largest=tuple(sorted(moved, key=lambda bin_: -abs(_step(bin_)))[:_LARGEST]),
    )


def _step(moved: Moved) -> float:
    return moved.current_share - moved.reference_share


def _bounds(counts: Sequence[Pair], sizes: Pair, *, alpha: float) -> Pair:
    """Of the distance, from the change of each bin at alpha/bins: it is no less than that of any single bin,
    and no more than half of the largest changes together."""
    low = far = 0.0
    for before, after in counts:
        change = rate_difference((before, sizes[0]), (after, sizes[1]), alpha=alpha / len(counts))
        low = max(low, change.low, -change.high)
        far += max(-change.low, change.high)
    return low, min(1.0, far / 2)


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
