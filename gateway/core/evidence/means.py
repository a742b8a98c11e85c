"""Means: of values in a known range, exact for every n, and one-sided bounds, at any look.

A value in [low, high] is scaled to [0, 1]. Betting the fraction `b` of the capital on "the mean is above m"
multiplies it by `1 + b y`, `y = (x - m) / m`, which is at least `exp(b y + (log(1 - b) + b) y^2)` (Fan,
Grama, Liu 2015, Lemma 4.1). That bound needs only n, the sum and the sum of squares, so it is known from
sums what a mixture of bets has become at least. Unlike `statistics.mean_interval` it promises coverage for
every n and every distribution in the range; it costs some width, and a range that must really be kept.

Sources: Fan, Grama, Liu, "Exponential inequalities for martingales with applications" (2015); Howard et al.
(2021), empirical Bernstein; Waudby-Smith and Ramdas (2024). Called by gates and whoever knows a range.
"""

import math

from gateway.core.evidence.statistics import BETS, Interval, last_rejected, log_mixture, mean_interval


def bounded_mean_interval(
    n: float, total: float, squares: float, *, low: float, high: float, alpha: float
) -> Interval:
    """The mean of values in [low, high]; both sides hold at once with probability 1 - alpha."""
    return Interval(
        bounded_mean_lower(n, total, squares, low=low, high=high, alpha=alpha / 2),
        bounded_mean_upper(n, total, squares, low=low, high=high, alpha=alpha / 2),
    )


def bounded_mean_lower(
    n: float, total: float, squares: float, *, low: float, high: float, alpha: float
) -> float:
    """The mean is at least this, at every look at once with probability 1 - alpha."""
    if n <= 0 or not high > low:
        return low
    width = high - low
    scaled = (total - n * low) / width
    scaled_squares = max(0.0, (squares - 2 * low * total + n * low * low) / (width * width))
    seen = min(1.0, max(0.0, scaled / n))
    limit = -math.log(alpha)

    def rejects(mean: float) -> bool:
        return log_capital_at_least(n, scaled, scaled_squares, mean) >= limit

    return low + width * last_rejected(rejects, rejected=0.0, kept=seen)


def bounded_mean_upper(
    n: float, total: float, squares: float, *, low: float, high: float, alpha: float
) -> float:
    """The mean is at most this, at every look at once with probability 1 - alpha."""
    return -bounded_mean_lower(n, -total, squares, low=-high, high=-low, alpha=alpha)


def mean_lower(n: float, total: float, squares: float, *, alpha: float) -> float:
    """One-sided form of `statistics.mean_interval`, asymptotic like it, for one question.

    Where the two-sided mixture has reached M on the upper side, its upper half has at least 2 M - 1:
    the lower
    half has lost there. So M = (1 + 1/alpha) / 2 suffices.
    """
    return mean_interval(n, total, squares, alpha=2 * alpha / (1 + alpha)).low


def mean_upper(n: float, total: float, squares: float, *, alpha: float) -> float:
    """The mean is at most this; see `mean_lower`."""
    return mean_interval(n, total, squares, alpha=2 * alpha / (1 + alpha)).high


def log_capital_at_least(n: float, total: float, squares: float, mean: float) -> float:
    """A mean that is rejected rejects every smaller one: the true capital falls in the supposed mean."""
    if mean <= 0:
        return -math.inf
    above = (total - n * mean) / mean
    apart = max(0.0, squares - 2 * mean * total + n * mean * mean) / (mean * mean)
    return log_mixture(
        math.log(share) + bet * above + (math.log1p(-bet) + bet) * apart for bet, share in BETS
    )
