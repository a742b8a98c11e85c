"""From evidence fields to what a person reads: numbers, intervals, and one sentence for each pair."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.contract.evidence import AGREEMENT, PAIRED, PRIMARY, SHADOW, pair_field, role_field
from gateway.contract.latency import bucket_of
from gateway.core.evidence.compare import Comparison, compare, to_json
from gateway.core.evidence.scores import VersionScores
from gateway.core.evidence.verdict import Verdict


def of_role(role: str, version: str, **statistics: float) -> dict[str, float]:
    return {role_field(role, version, name): value for name, value in statistics.items()}


def of_pair(kind: str, primary: str, shadow: str, **statistics: float) -> dict[str, float]:
    return {pair_field(kind, primary, shadow, name): value for name, value in statistics.items()}


DEMO = {
    **of_role(PRIMARY, "1", n=9000, ok=8990, us=2_700_000, recorded=8990, l=812, rows=812, right=686),
    role_field(PRIMARY, "1", f"h{bucket_of(300)}"): 8990,
    role_field(PRIMARY, "1", "e:deadline"): 10,
    **of_role(PRIMARY, "2", n=1000, ok=1000, recorded=1000, l=95, rows=95, right=91),
    **of_role(SHADOW, "3", n=9000, ok=9000, recorded=9000, l=812, rows=812, right=801),
    **of_pair(AGREEMENT, "1", "3", rows=8990, agree=7600),
    **of_pair(PAIRED, "1", "3", rows=812, b=4, c=119),
}
NUMBERS = {
    **of_role(PRIMARY, "1", n=400, ok=400, recorded=400, l=400, rows=400, ae=20_000, se=1.5e6, q4=1.5e10),
    **of_role(SHADOW, "2", n=400, ok=400, recorded=400, l=400, rows=400, ae=16_000, se=1.1e6, q4=1.1e10),
    **of_pair(AGREEMENT, "1", "2", rows=400, agree=31, d=6000, d2=150_000),
    **of_pair(PAIRED, "1", "2", rows=400, d=-4000, d2=130_000),
}


def row(comparison: Comparison, version: str, role: str = "primary") -> VersionScores:
    return next(row for row in comparison.versions if (row.version, row.role) == (version, role))


def verdict(evidence: dict[str, float], *versions: str) -> Verdict:
    (found,) = compare({1: evidence}, versions=versions or None).verdicts
    return found


def test_a_row_says_requests_errors_latency_labels_and_accuracy() -> None:
    first = row(compare({7: DEMO}), "1")
    assert (first.requests, first.answered, first.errors) == (9000, 8990, {"deadline": 10})
    assert first.error_rate is not None
    assert first.error_rate.low < 10 / 9000 < first.error_rate.high
    assert first.latency is not None
    assert 300 <= first.latency.p99_us.value <= 300 * 1.19
    assert first.latency.mean_us == pytest.approx(2_700_000 / 8990)
    assert first.coverage == pytest.approx(812 / 8990)
    assert first.accuracy is not None
    assert first.accuracy.value == pytest.approx(686 / 812)
    assert first.mae is None


def test_minutes_add_up_to_the_same_comparison() -> None:
    halves: dict[int, dict[str, float]] = {minute: {} for minute in (3, 4, 5)}
    for index, (name, value) in enumerate(DEMO.items()):
        halves[3][name] = value // 3
        halves[4 + index % 2][name] = value - value // 3
    assert compare(halves) == compare({1: DEMO})


def test_a_paired_verdict_names_the_better_version_with_its_numbers() -> None:
    (_, third) = compare({1: DEMO}).verdicts
    assert third.better == "3"
    assert third.paired
    assert third.sentence == (
        "3 is better than 1 by 14.2 points of accuracy (95 % interval 10.2 to 18.5, 812 paired labels)"
    )
    assert third.doubt is not None
    assert third.doubt < 1e-6


def test_a_worse_candidate_reads_from_the_side_of_the_better_one() -> None:
    found = verdict(DEMO, "3", "1")
    assert found.better == "3"
    assert found.difference is not None
    assert found.difference.value == pytest.approx(-115 / 812)
    assert found.sentence == (
        "3 is better than 1 by 14.2 points of accuracy (95 % interval 10.2 to 18.5, 812 paired labels)"
    )


def test_pairs_count_whichever_of_the_two_was_the_primary() -> None:
    both_ways = {
        **of_role(PRIMARY, "1", rows=100, right=80),
        **of_role(SHADOW, "1", rows=100, right=80),
        **of_role(PRIMARY, "2", rows=100, right=90),
        **of_role(SHADOW, "2", rows=100, right=90),
        **of_pair(PAIRED, "1", "2", rows=100, b=2, c=12),
        **of_pair(PAIRED, "2", "1", rows=100, b=12, c=2),
    }
    found = verdict(both_ways, "1", "2")
    assert found.difference is not None
    assert (found.difference.value, found.difference.n) == (0.1, 200)
    assert found.better == "2"


def test_without_pairs_the_labels_of_both_are_compared_and_what_is_missing_is_estimated() -> None:
    found = compare({1: DEMO}).verdicts[0]
    assert not found.paired
    assert found.better is None
    assert found.sentence.startswith(
        "not decided: 2 is ahead of 1 by 11.3 points of accuracy (95 % interval -"
    )
    assert "812 labels of 1, 95 of 2" in found.sentence
    assert found.more_labels is not None
    assert f"about {math.ceil(found.more_labels / 10) * 10} more labels" in found.sentence


def test_a_short_shadow_phase_does_not_outweigh_thousands_of_unpaired_labels() -> None:
    evidence = {
        **of_role(PRIMARY, "1", rows=9000, right=7600),
        **of_role(PRIMARY, "2", rows=9000, right=8700),
        **of_pair(PAIRED, "1", "2", rows=50, b=1, c=4),
    }
    found = verdict(evidence, "1", "2")
    assert not found.paired
    assert found.better == "2"


def test_numbers_are_judged_by_their_paired_absolute_errors() -> None:
    comparison = compare({1: NUMBERS})
    (found,) = comparison.verdicts
    assert found.metric == "mae"
    assert found.better == "2"
    assert found.sentence.startswith("2 is better than 1 by 10 in mean absolute error (95 % interval ")
    first = row(comparison, "1")
    assert first.accuracy is None
    assert first.mae is not None
    assert first.mae.low < 50 < first.mae.high
    assert first.rmse is not None
    assert first.rmse.value == pytest.approx(math.sqrt(1.5e6 / 400))
    (agreement,) = comparison.agreements
    assert agreement.mean_difference is not None
    assert agreement.mean_difference.value == 15


def test_unpaired_numbers_favour_the_smaller_error() -> None:
    evidence = {name: value for name, value in NUMBERS.items() if not name.startswith(PAIRED)}
    found = verdict(evidence, "1", "2")
    assert found.difference is not None
    assert found.difference.value == 10


def test_rewards_are_compared_where_there_are_no_labels() -> None:
    evidence = {
        **of_role(PRIMARY, "1", rwn=800, rw=80, rw2=80),
        **of_role(PRIMARY, "2", rwn=800, rw=200, rw2=200),
    }
    found = verdict(evidence)
    assert (found.metric, found.better) == ("reward", "2")
    assert found.sentence.startswith("2 is better than 1 by 0.15 in mean reward (95 % interval 0.0")


def test_agreement_of_a_shadow_has_an_interval() -> None:
    (agreement,) = compare({1: DEMO}).agreements
    assert (agreement.primary, agreement.shadow, agreement.rows) == ("1", "3", 8990)
    assert agreement.share is not None
    assert agreement.share.low < 7600 / 8990 < agreement.share.high
    assert agreement.mean_difference is None


@pytest.mark.parametrize(
    ("evidence", "sentence"),
    [
        ({}, "no labels yet for 1 and 2"),
        (of_role(PRIMARY, "1", n=5, ok=5), "no labels yet for 1 and 2"),
        (of_role(PRIMARY, "1", rows=12, right=9), "no labels yet for 2 (1 has 12)"),
        (
            {**of_role(PRIMARY, "1", rows=12, right=9), **of_role(PRIMARY, "2", rows=12, right=9)},
            "not decided: 2 and 1 are level in accuracy",
        ),
        (
            {
                **of_role(PRIMARY, "1", rows=9, ae=3.0, se=2.0),
                **of_role(PRIMARY, "2", rows=9, ae=4.0, se=3.0),
            },
            "not decided: 1 is ahead of 2 by 0.111 in mean absolute error (too few labels for an interval",
        ),
        (
            {**of_role(PRIMARY, "1", rows=9, ae=3.0, se=2.0), **of_role(PRIMARY, "2", rows=9, right=4)},
            "1 and 2 cannot be compared: one was scored by classes, one by numbers",
        ),
    ],
)
def test_too_little_evidence_is_said_in_words(evidence: dict[str, float], sentence: str) -> None:
    found = verdict(evidence, "1", "2")
    assert found.better is None
    assert found.sentence.startswith(sentence)


def test_without_any_evidence_there_is_nothing_to_compare() -> None:
    assert compare({}) == Comparison(0.05, None, (), (), ())


def test_a_version_that_was_asked_for_has_a_row_even_without_evidence() -> None:
    first, second = compare({}, versions=["1", "2"]).versions
    assert (first.version, second.version) == ("1", "2")
    assert (first.requests, first.error_rate, first.latency, first.accuracy) == (0, None, None, None)


def test_the_busiest_primary_is_the_baseline_and_versions_sort_as_people_count() -> None:
    evidence = of_role(PRIMARY, "10", n=5) | of_role(PRIMARY, "9", n=50) | of_role(SHADOW, "2", n=500)
    comparison = compare({1: evidence})
    assert comparison.baseline == "9"
    assert [row.version for row in comparison.versions] == ["2", "9", "10"]


def test_class_scores_come_from_the_confusion_counts_even_of_labels_with_colons() -> None:
    counts = {'c:"a:b":"a:b"': 8, 'c:"a:b":"c|d"': 2, 'c:"c|d":"c|d"': 5, "c:7:7": 3, "c:true:7": 1}
    comparison = compare({1: of_role(PRIMARY, "1", rows=19, right=16, **counts)})
    classes = {score.label: score for score in row(comparison, "1").classes}
    assert set(classes) == {'"a:b"', '"c|d"', "7", "true"}
    colons = classes['"a:b"']
    assert colons.recall is not None
    assert colons.recall.value == 0.8
    assert colons.precision is not None
    assert colons.precision.value == 1.0
    seven = classes["7"]
    assert seven.precision is not None
    assert seven.precision.value == 0.75


STATISTICS = st.sampled_from(
    ["n", "ok", "us", "h3", "h85", "recorded", "l", "right", "rows", "ae", "se", "q4", "rw", "rw2", "rwn",
     "e:deadline", "c:1:2", "c:2:2", "b", "c", "d", "d2", "agree", "unheard-of"]
)  # fmt: skip
ABOUT = st.sampled_from(["p|1", "p|2", "s|1", "s|2", "a|1|2", "a|2|1", "d|1|2", "d|2|1", "x|1", "p", ""])
VALUES = st.one_of(
    st.integers(-2, 10**9), st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0, 0.0, 1])
)


def assert_no_nan(value: Any) -> None:
    match value:
        case float():
            assert math.isfinite(value)
        case dict():
            for item in value.values():
                assert_no_nan(item)
        case list():
            for item in value:
                assert_no_nan(item)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.builds("{}|{}".format, ABOUT, STATISTICS), VALUES, max_size=25))
@example({"p|1|right": 2, "p|1|rows": 1.0, "p|2|rows": 1})
def test_no_evidence_however_odd_gives_nan_or_an_exception(evidence: dict[str, float]) -> None:
    plain = to_json(compare({1: evidence}))
    assert_no_nan(plain)
    json.dumps(plain, allow_nan=False)


def test_the_error_rate_counts_what_speaks_against_the_version_only() -> None:
    fields = {
        "p|1|n": 100,
        "p|1|ok": 80,
        "p|1|e:bad_upstream": 5,
        "p|1|e:invalid_input": 10,
        "p|1|e:client_gone": 5,
    }
    row = compare({1: fields}).versions[0]
    assert row.errors == {"invalid_input": 10, "bad_upstream": 5, "client_gone": 5}
    assert row.error_rate is not None
    assert row.error_rate.value == 0.05


def test_a_margin_asks_whether_the_candidate_is_not_worse_by_more_than_it() -> None:
    level = {
        **of_role(PRIMARY, "1", rows=2000, right=1800),
        **of_role(SHADOW, "2", rows=2000, right=1798),
        **of_pair(PAIRED, "1", "2", rows=2000, b=12, c=10),
    }
    (within,) = compare({1: level}, margin=0.02).verdicts
    assert (within.within_margin, within.better, within.margin) == (True, None, 0.02)
    assert within.sentence.startswith(
        "2 is not worse than 1 by more than 2 points of accuracy (behind by 0.1"
    )
    (open_,) = compare({1: level}, margin=0.002).verdicts
    assert open_.within_margin is None
    assert open_.sentence.startswith("not decided: 2 may be worse than 1 by more than 0.2 points of accuracy")
    assert open_.more_labels is not None
    assert compare({1: level}).verdicts[0].within_margin is None


def test_a_candidate_that_is_worse_by_more_than_the_margin_is_told_so() -> None:
    found = compare({1: DEMO}, versions=("3", "1"), margin=0.05).verdicts[0]
    assert found.within_margin is False
    assert found.sentence.startswith("1 is worse than 3 by more than 5 points of accuracy (behind by 14.2")


@pytest.mark.parametrize("paired", [True, False])
def test_as_many_more_labels_as_expected_do_decide_at_the_margin(paired: bool) -> None:
    def evidence(factor: float) -> dict[str, float]:
        pairs = of_pair(PAIRED, "1", "2", rows=500 * factor, b=12 * factor, c=11 * factor) if paired else {}
        return {
            **of_role(PRIMARY, "1", rows=500 * factor, right=450 * factor),
            **of_role(PRIMARY, "2", rows=500 * factor, right=449 * factor),
            **pairs,
        }

    (found,) = compare({1: evidence(1)}, margin=0.01).verdicts
    assert found.paired is paired
    assert found.more_labels is not None
    seen = 500 if paired else 1000
    factor = (seen + found.more_labels) / seen
    assert compare({1: evidence(factor)}, margin=0.01).verdicts[0].within_margin is True
    assert compare({1: evidence(0.95 * factor)}, margin=0.01).verdicts[0].within_margin is None
