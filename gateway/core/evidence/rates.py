"""Rates: the difference of two independent ones, and one-sided bounds of a single one, at any look.

Difference: for supposed rates (p, q) the product of both arms' martingales is a martingale however the arms
take turns, as long as who comes next does not depend on values not seen yet. The interval is every `q - p`
for which some pair stays below `1/alpha`. It pays `alpha` once, where the union bound pays twice, and for
both errors being large at once instead of each. The two strengths of bets (few labels, many labels) are
averaged.

One-sided: weights on one side of the supposed rate only, so that a gate that asks one question pays for
one.

Sources: Robbins (1970); Howard, Ramdas, McAuliffe, Sekhon (2021), section 3; Ville (1939). Continued fraction
of the incomplete beta function: DLMF 8.17.22. Called by `core.evidence.contrast`, `core.evidence.drift` and
gates.
"""

import math
from collections.abc import Callable

from gateway.core.evidence.statistics import (
    RATE_STRENGTH,
    Interval,
    last_rejected,
    log_beta,
    log_martingale_of_rate,
    log_mixture,
)

# (strength, share of the capital): the first is tight at thousands of labels of each arm, the second at tens.
STRENGTHS = ((1200.0, 0.9), (40.0, 0.1))
_GOLDEN = (math.sqrt(5) - 1) / 2
_NARROWINGS = 26  # of the range of the free rate: to 4e-6 of it
_HALVINGS = 24  # of the difference: to 1e-7


def rate_lower(successes: float, n: float, *, alpha: float) -> float:
    """The rate is at least this, at every look at once with probability 1 - alpha."""
    if n <= 0 or successes <= 0:
        return 0.0
    limit = -math.log(alpha)
    return last_rejected(
        lambda rate: _log_one_sided(successes, n, rate) >= limit, rejected=0.0, kept=successes / n
    )


def rate_upper(successes: float, n: float, *, alpha: float) -> float:
    """The rate is at most this, at every look at once with probability 1 - alpha."""
    return 1.0 - rate_lower(n - successes, n, alpha=alpha)


def rate_difference(first: tuple[float, float], second: tuple[float, float], *, alpha: float) -> Interval:
    """`second - first` of two independent rates, each given as (successes, n); exact for every n."""
    if first[1] <= 0 or second[1] <= 0:
        return Interval(-1.0, 1.0)
    limit = -math.log(alpha)
    seen = second[0] / second[1] - first[0] / first[1]

    def rejects(supposed: float) -> bool:
        return log_evidence_of_difference(first, second, supposed=supposed) >= limit

    low = last_rejected(rejects, rejected=-1.0, kept=seen, halvings=_HALVINGS) if seen > -1 else -1.0
    high = last_rejected(rejects, rejected=1.0, kept=seen, halvings=_HALVINGS) if seen < 1 else 1.0
    return Interval(low, high)


def log_evidence_of_difference(
    first: tuple[float, float], second: tuple[float, float], *, supposed: float = 0.0
) -> float:
    """The logarithm of an e-value against "second - first is `supposed`", whatever the rates are."""

    def product(rate: float) -> float:
        other = min(1.0, max(0.0, rate + supposed))
        return log_mixture(
            math.log(share)
            + log_martingale_of_rate(*first, rate, strength=strength)
            + log_martingale_of_rate(*second, other, strength=strength)
            for strength, share in STRENGTHS
        )

    return _smallest(product, low=max(0.0, -supposed), high=min(1.0, 1.0 - supposed))


def _smallest(of: Callable[[float], float], *, low: float, high: float) -> float:
    """The smallest value of a function that falls, then rises: golden section."""
    best = min(of(low), of(high))
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = of(left), of(right)
    for _ in range(_NARROWINGS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = of(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = of(right)
    return min(best, at_left, at_right)


def _log_one_sided(successes: float, n: float, rate: float) -> float:
    """Bets that the rate is above `rate` only: the weights below it are cut off."""
    if rate <= 0 or rate >= 1:
        return math.inf if rate <= 0 < successes else -math.inf
    a, b = RATE_STRENGTH * rate + 0.5, RATE_STRENGTH * (1 - rate) + 0.5
    after = _share_above(rate, successes + a, n - successes + b)
    if after <= 0:
        return -math.inf
    before = _share_above(rate, a, b)
    return log_martingale_of_rate(successes, n, rate) + math.log(after) - math.log(before)


def _share_above(x: float, a: float, b: float) -> float:
    """The share of Beta(a, b) above x."""
    if x < (a + 1) / (a + b + 2):
        return 1.0 - _share_below_small(x, a, b)
    return _share_below_small(1 - x, b, a)


def _share_below_small(x: float, a: float, b: float) -> float:
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta(a, b)) / a
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d or tiny)
    fraction = d
    for m in range(1, 2000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + step * d) or tiny)
            c = (1 + step / c) or tiny
            fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * fraction
