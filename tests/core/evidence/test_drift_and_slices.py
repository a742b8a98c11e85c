"""Drift without labels, and many slices with one budget of error."""

import math
from functools import partial

import numpy as np
from scipy import stats

from gateway.core.evidence.drift import drift, log_evidence
from gateway.core.evidence.slices import worst_slices
from gateway.core.evidence.statistics import Interval, paired_interval

SHARES = np.array([0.5, 0.3, 0.15, 0.05])


def named(counts: np.ndarray) -> dict[str, float]:
    return {str(index): float(count) for index, count in enumerate(counts)}


def test_a_shift_of_answers_is_found_measured_and_its_bins_are_named() -> None:
    found = drift({"cat": 500, "dog": 400, "bird": 100}, {"cat": 480, "dog": 200, "bird": 320}, alpha=0.05)
    assert math.isclose(found.distance, 0.22)
    assert 0.1 < found.low < 0.22 < found.high
    assert found.doubt < 1e-6
    assert [moved.bin for moved in found.largest] == ["bird", "dog", "cat"]
    assert (found.reference_n, found.current_n) == (1000, 1000)


def test_nothing_seen_claims_nothing() -> None:
    for reference, current in (({}, {}), ({"a": 5.0}, {}), ({}, {"a": 5.0})):
        found = drift(reference, current, alpha=0.05)
        assert (found.low, found.high, found.doubt) == (0.0, 1.0, 1.0)


def test_values_of_a_bin_that_the_reference_never_saw_are_drift() -> None:
    assert drift({"a": 500}, {"a": 400, "new": 100}, alpha=0.05).doubt < 0.001


def test_one_value_in_a_new_bin_is_no_alarm() -> None:
    assert drift({"a": 500}, {"a": 400, "new": 1}, alpha=0.05).doubt > 0.05


def test_without_drift_an_alarm_after_any_value_is_as_rare_as_it_says_though_the_reference_is_a_sample() -> (
    None
):
    runs, alarms = 200, 0
    for seed in range(runs):
        generator = np.random.default_rng(seed)
        reference = generator.multinomial(200, SHARES)
        current = (generator.choice(4, 400, p=SHARES)[:, None] == np.arange(4)).cumsum(0)
        alarms += any(
            log_evidence(list(zip(reference, counts, strict=True)), (200, float(counts.sum())))
            >= -math.log(0.05)
            for counts in current[::80]
        )
    assert alarms <= stats.binom.ppf(1 - 1e-6, runs, 0.05)


def test_a_test_that_takes_the_reference_for_the_truth_raises_false_alarms_so_the_one_above_can_fail() -> (
    None
):
    runs, alarms = 200, 0
    for seed in range(runs):
        generator = np.random.default_rng(seed)
        reference = generator.multinomial(200, SHARES) + 0.5
        current = (generator.choice(4, 400, p=SHARES)[:, None] == np.arange(4)).cumsum(0)
        expected = reference / reference.sum()
        n = np.arange(1, 401)[:, None]
        chi = ((current - n * expected) ** 2 / (n * expected)).sum(1)
        alarms += bool((chi[50::25] > stats.chi2.ppf(0.95, 3)).any())
    assert alarms > 2 * stats.binom.ppf(1 - 1e-6, runs, 0.05)


def at(n: float, gained: float, lost: float) -> partial[Interval]:
    return partial(lambda alpha: paired_interval(n, gained, lost, alpha=alpha))


def test_a_slice_that_is_worse_is_named_though_the_whole_is_better() -> None:
    slices = {"de": at(900, 90, 10), "fr": at(400, 5, 60), "it": at(400, 12, 11)}
    assert worst_slices(slices, alpha=0.05) == ("fr",)
    assert worst_slices(slices, alpha=0.05, margin=0.2) == ()
    assert worst_slices({}, alpha=0.05) == ()


def test_a_found_slice_passes_its_budget_on() -> None:
    late = at(400, 3, 29)
    slices = {**{f"fine{place}": at(50, 2, 2) for place in range(19)}, "late": late}
    assert worst_slices(slices, alpha=0.05) == ()
    bad = {**{f"bad{place}": at(500, 2, 90) for place in range(19)}, "late": late}
    assert "late" in worst_slices(bad, alpha=0.05)


def test_twenty_slices_that_are_looked_at_after_every_ten_labels_are_accused_as_seldom_as_one_would_be() -> (
    None
):
    runs, wrong = 60, 0
    for seed in range(runs):
        values = np.random.default_rng(seed).choice([-1, 0, 1], (20, 200), p=[0.1, 0.8, 0.1])
        gained, lost = (values == 1).cumsum(1), (values == -1).cumsum(1)
        suspects = (lost - gained).argmax(1)
        wrong += bool(
            worst_slices(
                {
                    str(k): at(suspects[k] + 1.0, gained[k, suspects[k]], lost[k, suspects[k]])
                    for k in range(20)
                },
                alpha=0.05,
            )
        )
    assert wrong <= stats.binom.ppf(1 - 1e-6, runs, 0.05)
