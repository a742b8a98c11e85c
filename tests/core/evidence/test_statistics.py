"""Confidence sequences against scipy, brute force, and somebody who looks after every single value."""

import math
import random
from bisect import bisect_left
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from scipy import optimize, special, stats

from gateway.contract.latency import BOUNDS_US, BUCKETS, bucket_of
from gateway.core.evidence.statistics import (
    BETS,
    EVERYTHING,
    Interval,
    difference,
    latency_bound_us,
    latency_quantile,
    mean_interval,
    needed,
    paired_doubt,
    paired_interval,
    rate_interval,
)

RUNS = 400
LOOKS = 500
# More misses than this in RUNS runs would happen by chance once in a million, if alpha = 0.05 were kept.
MOST_MISSES = int(stats.binom.ppf(1 - 1e-6, RUNS, 0.05))


def misses(excludes: Callable[[np.ndarray], bool], draw: Callable[[np.random.Generator], np.ndarray]) -> int:
    """In how many of RUNS runs `excludes` (given the values so far, looked at as a whole) ever says yes."""
    return sum(excludes(draw(np.random.default_rng(seed))) for seed in range(RUNS))


def scipy_rate_interval(successes: int, n: int, alpha: float) -> tuple[float, float]:
    def log_martingale(rate: float) -> float:
        a, b = 40 * rate + 0.5, 40 * (1 - rate) + 0.5
        mixture = special.betaln(successes + a, n - successes + b) - special.betaln(a, b)
        return float(
            mixture - special.xlogy(successes, rate) - special.xlog1py(n - successes, -rate) + math.log(alpha)
        )

    seen = successes / n
    low = optimize.brentq(log_martingale, 1e-300, seen, xtol=1e-15) if successes else 0.0
    high = optimize.brentq(log_martingale, seen, 1 - 1e-16, xtol=1e-15) if successes < n else 1.0
    return low, high


@pytest.mark.parametrize("alpha", [0.2, 0.05, 1e-4])
@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 40), (3, 40), (40, 40), (812, 950), (5, 90_000)]
)
def test_a_rate_interval_ends_where_scipy_finds_the_roots(successes: int, n: int, alpha: float) -> None:
    interval = rate_interval(successes, n, alpha=alpha)
    low, high = scipy_rate_interval(successes, n, alpha)
    assert interval.low == pytest.approx(low, abs=1e-12)
    assert interval.high == pytest.approx(high, abs=1e-12)


def test_nothing_seen_gives_the_whole_range_and_never_nan() -> None:
    assert rate_interval(0, 0, alpha=0.05) == Interval(0.0, 1.0)
    assert paired_interval(0, 0, 0, alpha=0.05) == Interval(-1.0, 1.0)
    assert paired_doubt(0, 0, 0) == 1.0
    assert paired_doubt(1e12, 5e11, 5e11) == 1.0
    assert mean_interval(0, 0, 0, alpha=0.05) == EVERYTHING
    assert latency_quantile([0] * BUCKETS, 0.5, alpha=0.05) is None
    assert needed(0, lambda _: True) is None


def test_the_mean_of_equal_values_is_not_claimed_to_be_known() -> None:
    assert mean_interval(1000, 0.1 * 1000, 0.01 * 1000, alpha=0.05) == EVERYTHING
    assert mean_interval(29, 10, 20, alpha=0.05) == EVERYTHING


def test_a_mean_interval_is_the_published_closed_form() -> None:
    values = np.random.default_rng(1).normal(3, 2, 700)
    rho2 = (-2 * math.log(0.05) + math.log(-2 * math.log(0.05) + 1)) / 500
    n, deviation = len(values), float(values.std())
    radius = deviation * math.sqrt(
        2 * (n * rho2 + 1) / (n**2 * rho2) * math.log(math.sqrt(n * rho2 + 1) / 0.05)
    )
    interval = mean_interval(n, float(values.sum()), float((values**2).sum()), alpha=0.05)
    assert interval.low == pytest.approx(values.mean() - radius, rel=1e-9)
    assert interval.high == pytest.approx(values.mean() + radius, rel=1e-9)


def capital_by_hand(values: list[int], mean: float) -> float:
    """Play every bet value by value instead of by counts."""
    return sum(
        share * math.prod(1 + bet / (1 + mean) * (value - mean) for value in values) for bet, share in BETS
    )


def test_a_paired_interval_ends_where_the_capital_of_bets_reaches_the_limit() -> None:
    values = [1] * 30 + [-1] * 8 + [0] * 112
    random.Random(5).shuffle(values)
    interval = paired_interval(150, 30, 8, alpha=0.1)
    low = optimize.brentq(lambda mean: capital_by_hand(values, mean) - 20, -0.9, 22 / 150)
    flipped = [-value for value in values]
    high = -optimize.brentq(lambda mean: capital_by_hand(flipped, mean) - 20, -0.9, -22 / 150)
    assert interval.low == pytest.approx(low, abs=1e-9)
    assert interval.high == pytest.approx(high, abs=1e-9)


@pytest.mark.parametrize(
    ("n", "gained", "lost"), [(20, 9, 0), (60, 9, 2), (812, 119, 4), (812, 30, 41), (5, 5, 0)]
)
@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01])
def test_doubt_is_below_alpha_exactly_when_the_interval_excludes_the_value(
    n: int, gained: int, lost: int, alpha: float
) -> None:
    interval = paired_interval(n, gained, lost, alpha=alpha)
    for supposed in (-0.3, -0.05, 0.0, 0.08, 0.14, 0.5):
        doubt = paired_doubt(n, gained, lost, supposed=supposed)
        assert (doubt <= alpha) == interval.excludes(supposed)


def test_swapping_the_two_turns_the_paired_interval_round() -> None:
    forward, backward = paired_interval(200, 31, 12, alpha=0.05), paired_interval(200, 12, 31, alpha=0.05)
    assert forward.low == pytest.approx(-backward.high)
    assert forward.high == pytest.approx(-backward.low)


def test_pairs_that_never_differed_do_not_prove_equality() -> None:
    interval = paired_interval(100, 0, 0, alpha=0.05)
    assert interval.low < -0.05
    assert interval.high > 0.05


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.97])
def test_looking_after_every_trial_keeps_the_coverage_of_a_rate(rate: float) -> None:
    @cache
    def is_missed(n: int, successes: int) -> bool:
        return rate_interval(successes, n, alpha=0.05).excludes(rate)

    def excludes(trials: np.ndarray) -> bool:
        return any(is_missed(n, int(successes)) for n, successes in enumerate(trials.cumsum(), 1))

    assert misses(excludes, lambda generator: generator.random(LOOKS) < rate) <= MOST_MISSES


def test_looking_after_every_trial_breaks_the_ordinary_interval_so_the_test_above_can_fail() -> None:
    def excludes(trials: np.ndarray) -> bool:
        n = np.arange(1, LOOKS + 1)
        seen = trials.cumsum() / n
        radius = 1.96 * np.sqrt(seen * (1 - seen) / n)
        return bool((abs(seen - 0.5) > radius)[29:].any())

    assert misses(excludes, lambda generator: generator.random(LOOKS) < 0.5) > 2 * MOST_MISSES


@pytest.mark.parametrize("kind", ["normal", "exponential", "mixed"])
def test_looking_after_every_value_keeps_the_coverage_of_a_mean(kind: str) -> None:
    draws: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
        "normal": lambda generator: generator.normal(0, 3, LOOKS),
        "exponential": lambda generator: generator.exponential(1, LOOKS) - 1,
        "mixed": lambda generator: generator.choice([-1.0, 0.0, 1.0], LOOKS, p=[0.1, 0.8, 0.1]),
    }

    def excludes(values: np.ndarray) -> bool:
        sums = zip(values.cumsum(), (values**2).cumsum(), strict=True)
        return any(
            mean_interval(n, float(total), float(squares), alpha=0.05).excludes(0.0)
            for n, (total, squares) in enumerate(sums, 1)
        )

    assert misses(excludes, draws[kind]) <= MOST_MISSES


@pytest.mark.parametrize(("gains", "losses"), [(0.05, 0.05), (0.16, 0.02), (0.0, 0.03)])
def test_looking_after_every_pair_keeps_the_coverage_of_a_paired_difference(
    gains: float, losses: float
) -> None:
    @cache
    def is_missed(n: int, gained: int, lost: int) -> bool:
        return paired_doubt(n, gained, lost, supposed=gains - losses) <= 0.05

    def excludes(values: np.ndarray) -> bool:
        counts = zip((values == 1).cumsum(), (values == -1).cumsum(), strict=True)
        return any(is_missed(n, int(gained), int(lost)) for n, (gained, lost) in enumerate(counts, 1))

    shares = [losses, 1 - gains - losses, gains]
    assert misses(excludes, lambda generator: generator.choice([-1, 0, 1], LOOKS, p=shares)) <= MOST_MISSES


def test_looking_often_keeps_the_coverage_of_an_unpaired_difference() -> None:
    def excludes(trials: np.ndarray) -> bool:
        for n in range(20, LOOKS + 1, 60):
            first = rate_interval(int((trials[:n] < 0.8).sum()), n, alpha=0.025)
            second = rate_interval(int((trials[LOOKS : LOOKS + n] < 0.9).sum()), n, alpha=0.025)
            if difference(first, second).excludes(0.1):
                return True
        return False

    assert misses(excludes, lambda generator: generator.random(2 * LOOKS)) <= MOST_MISSES


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_looking_often_keeps_the_coverage_of_a_latency_quantile(share: float) -> None:
    truth = 1000 * math.exp(0.8 * stats.norm.ppf(share))
    true_bucket = bisect_left(BOUNDS_US, truth)

    def excludes(latencies: np.ndarray) -> bool:
        buckets = [0] * BUCKETS
        for n, latency in enumerate(latencies, 1):
            buckets[bucket_of(latency)] += 1
            if n % 20 == 0:
                quantile = latency_quantile(buckets, share, alpha=0.05)
                assert quantile is not None
                bound = BOUNDS_US[true_bucket]
                if quantile.interval.low > truth or quantile.interval.high < bound:
                    return True
        return False

    assert misses(excludes, lambda generator: 1000 * generator.lognormal(0, 0.8, LOOKS)) <= MOST_MISSES


def test_a_quantile_is_the_bound_of_the_bucket_that_holds_it() -> None:
    latencies = sorted(np.random.default_rng(3).lognormal(6, 1, 2001))
    buckets = [0] * BUCKETS
    for latency in latencies:
        buckets[bucket_of(latency)] += 1
    for share in (0.5, 0.9, 0.99):
        true = latencies[math.ceil(share * len(latencies)) - 1]
        quantile = latency_quantile(buckets, share, alpha=0.05)
        assert quantile is not None
        assert true <= quantile.value_us <= 1.19 * true
        assert quantile.interval.low < true <= quantile.interval.high


def test_a_quantile_without_its_interval_is_the_same_value() -> None:
    draw = random.Random(7)
    for _ in range(200):
        buckets = [draw.choice((0, 0, 1, draw.randrange(500))) for _ in range(BUCKETS)]
        for share in (0.5, 0.9, 0.99):
            quantile = latency_quantile(buckets, share, alpha=0.05)
            assert quantile is not None
            assert latency_bound_us(buckets, share) == quantile.value_us
    assert latency_bound_us([0] * BUCKETS, 0.5) is None


def test_a_quantile_beyond_the_last_bound_has_no_upper_end() -> None:
    quantile = latency_quantile([0] * (BUCKETS - 1) + [500], 0.5, alpha=0.05)
    assert quantile is not None
    assert quantile.value_us == BOUNDS_US[-1]
    assert quantile.interval == Interval(BOUNDS_US[-1], math.inf)


def test_intervals_narrow_as_the_same_sums_grow() -> None:
    def widths(of: Callable[[int], Interval]) -> list[float]:
        return [interval.high - interval.low for interval in map(of, (1, 2, 4, 10, 100, 1000))]

    for found in (
        widths(lambda k: rate_interval(9 * k, 10 * k, alpha=0.05)),
        widths(lambda k: paired_interval(50 * k, 7 * k, 2 * k, alpha=0.05)),
        widths(lambda k: mean_interval(40 * k, 10 * k, 30 * k, alpha=0.05)),
    ):
        assert found == sorted(found, reverse=True)
        assert found[-1] < 0.2 * found[0]


def test_a_paired_difference_decides_with_fewer_labels_than_an_unpaired_one() -> None:
    n, gained, lost = 400, 30, 6
    paired = paired_interval(n, gained, lost, alpha=0.05)
    first = rate_interval(n * 0.85, n, alpha=0.025)
    second = rate_interval(n * 0.85 + gained - lost, n, alpha=0.025)
    assert paired.low > 0
    assert not difference(first, second).excludes(0.0)


def test_the_labels_that_are_said_to_be_needed_do_decide() -> None:
    def is_decided_at(factor: float) -> bool:
        return paired_interval(100 * factor, 6 * factor, 3 * factor, alpha=0.05).excludes(0.0)

    more = needed(100, is_decided_at)
    assert more is not None
    assert is_decided_at((100 + more) / 100)
    assert not is_decided_at((100 + more) / 100 * 0.96)
    assert needed(100, lambda _: False) is None
    assert needed(100, lambda factor: factor >= 1) == 0.0
