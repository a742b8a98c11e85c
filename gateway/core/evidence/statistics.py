"""How sure a number from evidence is: intervals that hold however often somebody looks.

Operators and gates look at running experiments again and again, and a fixed-size interval is wrong far more
often than it says under such peeking. Everything here is therefore a *confidence sequence*: with probability
`1 - alpha` the true value lies inside at every look at once, so stopping at a look that pleases is allowed.
Each function takes sums (`n`, successes, sum, sum of squares), so that minutes and processes merge by adding.

The method is the same throughout: a non-negative martingale that starts at 1 under a supposed value reaches
`1/alpha` with probability at most `alpha` (Ville's inequality); the interval is every value whose martingale
has stayed below. With nothing seen the interval is the whole range; nothing here is ever NaN.

Sources: H. Robbins, "Statistical methods related to the law of the iterated logarithm" (1970); Howard,
Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences" (2021);
Waudby-Smith, Ramdas, "Estimating means of bounded random variables by betting" (2024); Waudby-Smith, Arbour,
Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences" (2024).

Called by `core.evidence.scores` and `core.evidence.compare`. It knows counts only: no versions, no metrics,
no time.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gateway.contract.latency import BOUNDS_US

_BISECTIONS = 60  # halvings of [0, 1]: below the spacing of doubles near 1
RATE_STRENGTH = 40.0  # trials that the weights around a supposed rate are worth
_FEWEST_FOR_MEAN = 30  # real values needed before a normal approximation of their mean is believed
_TIGHTEST_AT = 500.0  # number of values at which intervals of means are tightest (their free parameter)
_MOST_NEEDED = 1e9  # an estimate of missing labels beyond this says nothing

# (fraction of the largest bet that cannot go bankrupt, share of the capital). Halving from 0.95 down covers
# differences from one in a few observations to one in thousands; the bets that decide between a hundred and a
# hundred thousand observations get most of the capital, which narrows intervals there by a few percent.
_STAKES = (1, 2, 4, 4, 4, 4, 2, 0.5, 0.25, 0.125, 0.125, 0.125)
BETS = tuple((0.95 * 0.5**step, stake / sum(_STAKES)) for step, stake in enumerate(_STAKES))


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends belong to it; an end is infinite where nothing bounds the value."""

    low: float
    high: float

    def excludes(self, value: float) -> bool:
        return not self.low <= value <= self.high


EVERYTHING = Interval(-math.inf, math.inf)


def rate_interval(successes: float, n: float, *, alpha: float) -> Interval:
    """The share of successes among independent trials, exact for every `n`.

    Beta-binomial mixture (Robbins 1970; Howard et al. 2021, section 3), its weights centred on each supposed
    rate: at 10,000 trials narrower by a sixth than with the weights of Beta(1/2, 1/2).
    """
    if n <= 0:
        return Interval(0.0, 1.0)
    seen = successes / n
    limit = -math.log(alpha)

    def rejects(rate: float) -> bool:
        return log_martingale_of_rate(successes, n, rate) >= limit

    low = 0.0 if successes <= 0 else last_rejected(rejects, rejected=0.0, kept=seen)
    high = 1.0 if successes >= n else last_rejected(rejects, rejected=1.0, kept=seen)
    return Interval(low, high)


def mean_interval(n: float, total: float, squares: float, *, alpha: float) -> Interval:
    """The mean of real values, or of paired differences, from their sum and sum of squares.

    Asymptotic confidence sequence (Waudby-Smith et al. 2024, Theorem 2.2), closed form: its promise is that
    of the central limit theorem, so it needs some values. Below 30 of them, or when all were equal and so
    nothing tells how far they scatter, the answer is the whole line.
    """
    if n < _FEWEST_FOR_MEAN:
        return EVERYTHING
    mean = total / n
    variance = squares / n - mean * mean
    if not variance > 1e-12 * squares / n:
        return EVERYTHING
    log_alpha = math.log(alpha)
    rho2 = (-2 * log_alpha + math.log1p(-2 * log_alpha)) / _TIGHTEST_AT
    spread = n * rho2 + 1
    radius = math.sqrt(variance * 2 * spread / (n * n * rho2) * (0.5 * math.log(spread) - log_alpha))
    return Interval(mean - radius, mean + radius)


def paired_interval(n: float, gained: float, lost: float, *, alpha: float) -> Interval:
    """The difference of two success rates where both were tried on the same `n` cases, exact for every `n`.

    `gained` counts cases that only the second got right, `lost` those that only the first got right; the
    value is the mean of +1, -1 and 0. Each end is a one-sided sequence at alpha/2: the capital of an equal
    mixture of fixed bets against "the mean is at most m" (Waudby-Smith and Ramdas 2024, with bets mixed
    instead of predicted, so that counts suffice). It falls in m, hence one root. About as narrow as the
    asymptotic sequence for `n` in the hundreds, and honest where no case has differed yet.
    """
    if n <= 0:
        return Interval(-1.0, 1.0)
    return Interval(
        _lower_end(n, gained, lost, alpha=alpha / 2), -_lower_end(n, lost, gained, alpha=alpha / 2)
    )


def paired_doubt(n: float, gained: float, lost: float, *, supposed: float = 0.0) -> float:
    """An anytime-valid p-value for "the difference is `supposed`": small where the counts speak against it.

    It belongs to `paired_interval` and is below alpha exactly when that interval excludes `supposed`. For
    "both are equally good" it depends on the discordant cases alone: there the bets are on the share of
    `gained` among them being above, or below, one half.
    """
    if n <= 0:
        return 1.0
    same = n - gained - lost
    capital = max(_log_capital(supposed, gained, lost, same), _log_capital(-supposed, lost, gained, same))
    return min(1.0, 2 * math.exp(-max(0.0, capital)))


def paired_lower(n: float, gained: float, lost: float, *, alpha: float) -> float:
    """The paired difference is at least this, at every look at once with probability 1 - alpha: the end of
    `paired_interval` for a gate that asks one question and so pays for one side."""
    return -1.0 if n <= 0 else _lower_end(n, gained, lost, alpha=alpha)


def paired_upper(n: float, gained: float, lost: float, *, alpha: float) -> float:
    """The paired difference is at most this, at every look at once with probability 1 - alpha."""
    return -paired_lower(n, lost, gained, alpha=alpha)


def difference(first: Interval, second: Interval) -> Interval:
    """`second - first` for values whose intervals hold at alpha/2 each (union bound: no pairing, and no
    independence, is assumed)."""
    return Interval(second.low - first.high, second.high - first.low)


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of latencies in µs; both it and its interval are bounds of buckets (19 % apart)."""

    value_us: float
    interval: Interval


def latency_quantile(buckets: Sequence[float], share: float, *, alpha: float) -> Quantile | None:
    """The latency that `share` of the requests do not exceed, from histogram counts; None without requests.

    A bound lies below the quantile when the rate of requests at or under it is shown to be less than
    `share`, by `rate_interval`'s martingale at alpha/2 for each side. No correction for the many bounds is
    needed: they are ordered, so a wrong end implies a wrong answer at the one bound next to the true value.
    """
    n = math.fsum(buckets)
    if n <= 0:
        return None
    limit = math.log(2 / alpha)
    value = low = 0.0
    high = math.inf
    under = 0.0
    for bound, count in zip(BOUNDS_US, buckets, strict=False):
        if under < share * n:
            value = bound
        under += count
        if log_martingale_of_rate(min(under, n), n, share) >= limit:
            if under < share * n:
                low = bound
            else:
                high = bound
                break
    return Quantile(value, Interval(low, high))


def latency_bound_us(buckets: Sequence[float], share: float) -> float | None:
    """The value of `latency_quantile` without its interval, which takes nearly all of its time."""
    wanted = share * math.fsum(buckets)
    if wanted <= 0:
        return None
    under, value = 0.0, 0.0
    for bound, count in zip(BOUNDS_US, buckets, strict=False):
        if under >= wanted:
            break
        value = bound
        under += count
    return value


def quantile_ratio(
    first: Sequence[float], second: Sequence[float], share: float, *, alpha: float
) -> Interval | None:
    """How many times the first's latency quantile the second's is; None while one has no requests.

    Union bound of two quantiles at alpha/2: counts of buckets leave nothing that could be shared
    between them.
    """
    before = latency_quantile(first, share, alpha=alpha / 2)
    after = latency_quantile(second, share, alpha=alpha / 2)
    if before is None or after is None:
        return None
    low = after.interval.low / before.interval.high if before.interval.high > 0 else 0.0
    high = after.interval.high / before.interval.low if before.interval.low > 0 else math.inf
    return Interval(0.0 if math.isnan(low) else low, math.inf if math.isnan(high) else high)


def needed(n: float, is_decided_at: Callable[[float], bool]) -> float | None:
    """About how many more observations decide, if they go on like the `n` seen; None if that is not known.

    `is_decided_at(factor)` says whether `factor` times every sum would decide.
    """
    if n <= 0:
        return None
    if is_decided_at(1.0):
        return 0.0
    factor = 1.0
    while not is_decided_at(factor):
        factor *= 2
        if factor * max(n, 1.0) > _MOST_NEEDED:
            return None
    step = factor / 4
    while step > factor / 64:
        if is_decided_at(factor - step):
            factor -= step
        step /= 2
    return n * (factor - 1)


def log_martingale_of_rate(
    successes: float, n: float, rate: float, *, strength: float = RATE_STRENGTH
) -> float:
    """What a mixture of bets against `rate` has become: weights of Beta(1/2 + strength * rate, ...)."""
    if (rate <= 0 and successes > 0) or (rate >= 1 and successes < n):
        return math.inf
    failures = n - successes
    a, b = strength * rate + 0.5, strength * (1 - rate) + 0.5
    mixture = log_beta(successes + a, failures + b) - log_beta(a, b)
    supposed = (successes * math.log(rate) if successes else 0.0) + (
        failures * math.log1p(-rate) if failures else 0.0
    )
    return mixture - supposed


def _lower_end(n: float, up: float, down: float, *, alpha: float) -> float:
    same = n - up - down
    seen = (up - down) / n
    limit = -math.log(alpha)
    if seen <= -1:
        return -1.0
    return last_rejected(lambda mean: _log_capital(mean, up, down, same) >= limit, rejected=-1.0, kept=seen)


def _log_capital(mean: float, up: float, down: float, same: float) -> float:
    """What one unit of money has become, betting on values +1, -1, 0 that their mean is above `mean`."""
    if mean <= -1:
        return math.inf
    scale = 1 / (1 + mean)
    return log_mixture(
        math.log(share)
        + up * math.log1p(bet * (2 * scale - 1))
        + same * math.log1p(bet * (scale - 1))
        + down * math.log1p(-bet)
        for bet, share in BETS
    )


def log_mixture(logs: Iterable[float]) -> float:
    """The logarithm of a sum of capitals that are given by their logarithms."""
    found = list(logs)
    largest = max(found)
    if math.isinf(largest):
        return largest
    return largest + math.log(math.fsum(math.exp(log - largest) for log in found))


def log_beta(a: float, b: float) -> float:
    """The logarithm of the beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def last_rejected(
    rejects: Callable[[float], bool], *, rejected: float, kept: float, halvings: int = _BISECTIONS
) -> float:
    """The value next to the kept ones, between one that is rejected and one that is not."""
    for _ in range(halvings):
        middle = (rejected + kept) / 2
        if rejects(middle):
            rejected = middle
        else:
            kept = middle
    return rejected
