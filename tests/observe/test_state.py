"""States add up as the catalogue says, survive the way over a socket, and refuse what the catalogue lacks."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.latency import BOUNDS_US, BUCKETS
from gateway.observe.catalogue import (
    CATALOGUE,
    LATENCY_BOUNDS_S,
    OTHER,
    WORKER_METRICS,
    Kind,
    Merge,
    coarse,
    known_or_other,
)
from gateway.observe.state import MetricsState, from_json, merge, to_json

COUNTER, GAUGES = "turnout_retries_total", ("turnout_in_flight", "turnout_accuracy", "turnout_workers")
BUCKET_COUNT = len(LATENCY_BOUNDS_S) + 1
LABELS = ("digits", "1")


def states() -> st.SearchStrategy[MetricsState]:
    def build(counts: list[int], gauges: list[float], buckets: list[int]) -> MetricsState:
        state = MetricsState()
        for version, count in enumerate(counts):
            state.count(COUNTER, count, "digits", str(version))
        for name, value in zip(GAUGES, gauges, strict=False):
            state.gauge(name, value, *LABELS)
        state.histogram("turnout_request_duration_seconds", buckets, float(sum(buckets)), *LABELS, "primary")
        return state

    return st.builds(
        build,
        st.lists(st.integers(0, 2**40), max_size=3),
        st.lists(st.integers(0, 1000), max_size=3),
        st.lists(st.integers(0, 2**30), min_size=BUCKET_COUNT, max_size=BUCKET_COUNT),
    )


@given(states(), states(), states())
def test_merging_does_not_depend_on_order_or_grouping(
    a: MetricsState, b: MetricsState, c: MetricsState
) -> None:
    assert merge([a, b, c]) == merge([merge([a, b]), c]) == merge([c, a, b])


@given(states())
def test_a_state_is_the_same_after_its_way_as_json(state: MetricsState) -> None:
    assert from_json(to_json("process-1", state)) == ("process-1", state)


@given(states(), states())
def test_merging_leaves_the_given_states_alone(a: MetricsState, b: MetricsState) -> None:
    before = to_json("a", a), to_json("b", b)
    merge([a, b])
    assert (to_json("a", a), to_json("b", b)) == before


def test_gauges_merge_by_their_own_rule() -> None:
    def state(value: float) -> MetricsState:
        state = MetricsState()
        for name in GAUGES:
            state.gauge(name, value, *LABELS)
        return state

    rules = [CATALOGUE[name].merge for name in GAUGES]
    assert rules == [Merge.SUM, Merge.MAX, Merge.MIN]
    merged = merge([state(3), state(5)])
    assert [merged.gauges[name, LABELS] for name in GAUGES] == [8, 5, 3]


def test_what_the_catalogue_does_not_know_is_a_bug() -> None:
    state = MetricsState()
    with pytest.raises(ValueError, match="no counter named turnout_typo_total"):
        state.count("turnout_typo_total", 1)
    with pytest.raises(ValueError, match="no gauge named turnout_retries_total"):
        state.gauge(COUNTER, 1, *LABELS)
    with pytest.raises(ValueError, match="has the labels"):
        state.count(COUNTER, 1, "digits")
    with pytest.raises(ValueError, match="buckets, not 2"):
        state.histogram("turnout_request_duration_seconds", [1, 2], 3.0, *LABELS, "primary")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"process":"x"}',
        b'{"process":"x","counters":[["turnout_nope",[],1]],"gauges":[],"histograms":[]}',
    ],
)
def test_an_answer_that_is_no_state_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a metrics state|no counter"):
        from_json(text)


def test_coarse_buckets_lose_no_request_and_keep_every_fourth_bound() -> None:
    counts = [index + 1 for index in range(BUCKETS)]
    assert sum(coarse(counts)) == sum(counts)
    assert len(coarse(counts)) == len(LATENCY_BOUNDS_S) + 1
    assert LATENCY_BOUNDS_S[-1] == BOUNDS_US[-1] / 1e6
    for position, bound in enumerate(LATENCY_BOUNDS_S):
        under = sum(count for upper, count in zip(BOUNDS_US, counts, strict=False) if upper / 1e6 <= bound)
        assert sum(coarse(counts)[: position + 1]) == under


def test_every_metric_has_its_unit_in_its_name_and_bounded_labels() -> None:
    allowed = {"model", "version", "role", "outcome", "reason", "result", "code", "gateway", "phase"}
    for metric in CATALOGUE.values():
        assert re.fullmatch(r"turnout_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert set(metric.labels) <= allowed, metric.name
        assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM), metric.name
        assert metric.name.startswith("turnout_worker_") == (metric.name in WORKER_METRICS)


def test_a_name_that_no_route_knows_becomes_other() -> None:
    assert known_or_other("digits", {"digits"}) == "digits"
    assert known_or_other("' or 1=1", {"digits"}) == OTHER
