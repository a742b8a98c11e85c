"""Durations in buckets, and the correction for requests that were left out."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.loadtest.histogram import GROWTH, Histogram

MICROSECONDS = st.floats(1, 1e8)


def of(*values: float) -> Histogram:
    found = Histogram()
    for value in values:
        found.add(value)
    return found


@given(st.lists(MICROSECONDS, min_size=1), st.floats(0, 1))
def test_a_quantile_is_at_most_a_bucket_too_high_and_never_too_low(values: list[float], share: float) -> None:
    found = of(*values).quantile(share)
    rank = max(1, -(-int(share * len(values) * 1e9) // 10**9))
    exact = sorted(values)[min(rank, len(values)) - 1]
    assert found is not None
    assert exact / GROWTH <= found * (1 + 1e-9)
    assert found <= max(values)


@given(st.lists(MICROSECONDS), st.lists(MICROSECONDS))
def test_two_processes_merge_to_what_one_had_counted(one: list[float], other: list[float]) -> None:
    merged = Histogram.from_json(json.loads(json.dumps(of(*one).to_json())))
    merged.merge(of(*other))
    assert merged.counts == of(*one, *other).counts
    assert merged.n == len(one) + len(other)


def test_nothing_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram().interval(0.5) is None


def test_the_interval_of_a_quantile_holds_it_in_most_samples() -> None:
    chance, held = random.Random(5), 0
    for _ in range(200):
        ends = of(*(chance.expovariate(1) * 1e4 for _ in range(500))).interval(0.5)
        assert ends is not None
        held += ends[0] / GROWTH <= 6931 <= ends[1]  # ln 2
    assert held >= 180


def test_a_stall_of_a_closed_loop_is_corrected_by_what_was_not_sent() -> None:
    """One user, 10 ms between requests, 1 ms an answer, and one answer of 1 s in 1,000 requests.

    Measured, 0.1 % are slow; a client that had kept its pace would have sent 100 into the stall, of which
    half would have waited longer than 0.5 s.
    """
    measured = of(*[1_000.0] * 999, 1_000_000.0)
    corrected = measured.corrected(10_000)
    assert measured.quantile(0.99) == pytest.approx(1_000, rel=0.03)
    assert corrected.n == pytest.approx(1_100, abs=2)
    assert corrected.quantile(0.99) == pytest.approx(890_000, rel=0.05)
    assert corrected.quantile(0.5) == pytest.approx(1_000, rel=0.03)


def test_without_a_pace_nothing_is_corrected() -> None:
    assert of(1, 1_000_000).corrected(0).n == 2
