"""Differences of rates, bounded means and one-sided bounds: by brute force, and always looked at."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from gateway.contract.latency import BOUNDS_US, BUCKETS, bucket_of
from gateway.core.evidence.means import (
    bounded_mean_interval,
    bounded_mean_lower,
    log_capital_at_least,
    mean_lower,
    mean_upper,
)
from gateway.core.evidence.rates import (
    STRENGTHS,
    _share_above,
    log_evidence_of_difference,
    rate_difference,
    rate_lower,
    rate_upper,
)
from gateway.core.evidence.statistics import (
    BETS,
    Interval,
    difference,
    log_martingale_of_rate,
    log_mixture,
    mean_interval,
    paired_interval,
    paired_lower,
    paired_upper,
    quantile_ratio,
    rate_interval,
)

RUNS = 300
MOST_MISSES = int(stats.binom.ppf(1 - 1e-6, RUNS, 0.05))


@pytest.mark.parametrize(
    ("first", "second"), [((3, 40), (0, 7)), ((86, 100), (45, 50)), ((960, 1000), (93, 100))]
)
@pytest.mark.parametrize("supposed", [-0.1, 0.0, 0.02])
def test_the_evidence_of_a_difference_is_the_least_over_all_pairs_of_rates(
    first: tuple[float, float], second: tuple[float, float], supposed: float
) -> None:
    def product(rate: float) -> float:
        return log_mixture(
            math.log(share)
            + log_martingale_of_rate(*first, rate, strength=strength)
            + log_martingale_of_rate(*second, rate + supposed, strength=strength)
            for strength, share in STRENGTHS
        )

    grid = np.linspace(max(0, -supposed) + 1e-6, min(1, 1 - supposed) - 1e-6, 1001)
    least = min(product(float(rate)) for rate in grid)
    assert log_evidence_of_difference(first, second, supposed=supposed) == pytest.approx(least, abs=2e-2)


def test_looking_after_every_label_keeps_the_coverage_of_a_difference_of_rates() -> None:
    """The arms take turns as a ramp does: the second gets every tenth label, then every second one."""
    missed = 0
    for seed in range(RUNS // 3):
        drawn = np.random.default_rng(seed).random((2, 400))
        counts = [0, 0, 0, 0]
        for look, (value, turn) in enumerate(drawn.T):
            arm = 2 * int(turn < (0.1 if look < 200 else 0.5))
            counts[arm] += 1
            counts[arm + 1] += value < (0.7 if arm else 0.9)
            n1, s1, n2, s2 = counts
            joint = [
                share
                * math.exp(
                    log_martingale_of_rate(s1, n1, 0.9, strength=strength)
                    + log_martingale_of_rate(s2, n2, 0.7, strength=strength)
                )
                for strength, share in STRENGTHS
            ]
            if sum(joint) >= 20 and rate_difference((s1, n1), (s2, n2), alpha=0.05).excludes(-0.2):
                missed += 1
                break
    assert missed <= stats.binom.ppf(1 - 1e-6, RUNS // 3, 0.05)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.84, 0.97])
def test_a_difference_of_rates_is_at_most_1_8_times_as_wide_as_one_look_allows(rate: float) -> None:
    arm = (rate * 10_000, 10_000)
    found = rate_difference(arm, arm, alpha=0.05)
    half = rate_interval(*arm, alpha=0.025)
    fixed = 2 * 1.96 * math.sqrt(2 * rate * (1 - rate) / 10_000)
    assert found.high - found.low <= 1.8 * fixed
    union = difference(half, half)
    assert found.high - found.low < 0.72 * (union.high - union.low)


def test_a_rate_and_a_paired_difference_are_at_most_1_8_times_as_wide_as_one_look_allows() -> None:
    for rate in (0.01, 0.1, 0.5, 0.84, 0.97):
        found = rate_interval(rate * 10_000, 10_000, alpha=0.05)
        assert found.high - found.low <= 1.8 * 2 * 1.96 * math.sqrt(rate * (1 - rate) / 10_000)
    for share in (0.01, 0.05, 0.2):
        found = paired_interval(10_000, share * 5000, share * 5000, alpha=0.05)
        assert found.high - found.low <= 1.8 * 2 * 1.96 * math.sqrt(share / 10_000)


def test_without_labels_of_one_arm_no_difference_is_claimed() -> None:
    assert rate_difference((0, 0), (5, 9), alpha=0.05) == Interval(-1.0, 1.0)
    assert rate_difference((0, 500), (500, 500), alpha=0.05).low > 0.9
    assert (rate_lower(0, 0, alpha=0.05), rate_upper(0, 0, alpha=0.05)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("x", "a", "b"), [(0.01, 0.9, 40), (0.3, 5, 9), (0.5, 500.5, 480), (0.97, 9800, 310)]
)
def test_the_share_of_a_beta_above_a_value_is_that_of_scipy(x: float, a: float, b: float) -> None:
    assert _share_above(x, a, b) == pytest.approx(stats.beta.sf(x, a, b), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(1, 1), (3, 40), (812, 950), (40, 40)])
def test_one_question_is_answered_sooner_than_two(successes: int, n: int) -> None:
    both = rate_interval(successes, n, alpha=0.05)
    assert rate_lower(successes, n, alpha=0.05) >= both.low
    assert rate_upper(successes, n, alpha=0.05) <= both.high
    pairs = paired_interval(n + 40, successes, 2, alpha=0.05)
    assert paired_lower(n + 40, successes, 2, alpha=0.05) > pairs.low
    assert paired_upper(n + 40, successes, 2, alpha=0.05) < pairs.high
    mean = mean_interval(950, 812, 812, alpha=0.05)
    assert mean_lower(950, 812, 812, alpha=0.05) > mean.low
    assert mean_upper(950, 812, 812, alpha=0.05) < mean.high


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.96])
def test_looking_after_every_trial_keeps_the_error_of_a_one_sided_bound(rate: float) -> None:
    first_wrong = []
    count = 1
    for n in range(1, 501):
        while count <= n and rate_lower(count, n, alpha=0.05) <= rate:
            count += 1
        first_wrong.append(count)
    sums = (np.random.default_rng(7).random((RUNS, 500)) < rate).cumsum(1)
    assert (sums >= np.array(first_wrong)).any(1).sum() <= MOST_MISSES


def test_a_bounded_mean_ends_where_the_capital_that_is_certain_reaches_the_limit() -> None:
    values = np.random.default_rng(4).beta(2, 5, 300) * 4 - 1
    sums = (300, float(values.sum()), float((values**2).sum()))
    low = bounded_mean_lower(*sums, low=-1, high=3, alpha=0.05)

    def true_capital(mean: float) -> float:
        y = ((values + 1) / 4 - mean) / mean
        return float(sum(share * np.prod(1 + bet * y) for bet, share in BETS))

    certain = (low + 1) / 4
    assert true_capital(certain) >= 20 * (1 - 1e-6)
    exact = optimize.brentq(lambda mean: true_capital(mean) - 20, 0.05, (values.mean() + 1) / 4)
    assert certain <= exact <= certain + 0.01


@pytest.mark.parametrize(
    ("a", "b"),
    [(2.0, 2.0), (0.5, 0.5), (2.0, 20.0), (0.02, 0.02)],
    ids=["round", "ends", "low", "two points"],
)
def test_looking_often_keeps_the_coverage_of_a_bounded_mean_from_the_first_value_on(
    a: float, b: float
) -> None:
    missed = 0
    looks = np.unique(np.geomspace(1, 2000, 60).astype(int))
    for seed in range(RUNS):
        values = np.random.default_rng(seed).beta(a, b, 2000)
        total, squares = values.cumsum(), (values**2).cumsum()
        missed += any(
            max(
                log_capital_at_least(int(n), total[n - 1], squares[n - 1], a / (a + b)),
                log_capital_at_least(
                    int(n), n - total[n - 1], n - 2 * total[n - 1] + squares[n - 1], b / (a + b)
                ),
            )
            >= math.log(40)
            for n in looks
        )
    assert missed <= MOST_MISSES


def test_equal_values_in_a_known_range_narrow_without_ever_being_certain() -> None:
    found = bounded_mean_interval(1000, 500, 250, low=0, high=1, alpha=0.05)
    assert 0.48 < found.low < 0.5 < found.high < 0.52
    assert bounded_mean_interval(0, 0, 0, low=-2, high=3, alpha=0.05) == Interval(-2, 3)


def test_the_ratio_of_latency_quantiles_finds_a_slower_version_and_nothing_in_equal_ones() -> None:
    def buckets(median_us: float) -> list[float]:
        found = [0.0] * BUCKETS
        for latency in np.random.default_rng(2).lognormal(math.log(median_us), 0.5, 3000):
            found[bucket_of(latency)] += 1
        return found

    slower = quantile_ratio(buckets(1000), buckets(2000), 0.5, alpha=0.05)
    equal = quantile_ratio(buckets(1000), buckets(1000), 0.5, alpha=0.05)
    assert slower is not None
    assert equal is not None
    assert 1 < slower.low < 2 < slower.high
    assert equal.low < 1 < equal.high
    assert quantile_ratio(buckets(1000), [0.0] * BUCKETS, 0.5, alpha=0.05) is None
    assert BOUNDS_US[0] > 0
