"""`gateway.core.rollouts.gates`: PASS, FAIL, HOLD or ERROR, and the sentences that tell it."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract.plan import Gate, Plan, Step
from gateway.contract.rollout import Outcome, Verdict
from gateway.core.evidence.sums import Sums, Table
from gateway.core.rollouts.gates import alpha_of, gates_of, judge_gate, judge_step
from gateway.core.rollouts.seen import Evidence
from tests.core.rollouts.examples import plan, sums, table

WEIGHT = Step.model_validate({"weight": 20})
SHADOW = Step.model_validate({"shadow": 100})
CUTOVER = Step.model_validate({"cutover": {}})


def gate(metric: str, **fields: Any) -> Gate:
    return Gate.model_validate({"metric": metric, **fields})


def judged(of: Gate, whole: Table, *, step: Step = WEIGHT, in_step: Table | None = None) -> Verdict:
    evidence = Evidence(rollout=whole, step=in_step or whole)
    return judge_gate(of, baseline="2", candidate="4", evidence=evidence, step=step)


def paired(rows: float, *, gained: float = 0, lost: float = 0) -> Table:
    """`lost`: only 2 was right."""
    right = rows - gained - lost
    return table(
        {"p2": sums(rows, rows=rows, right=right + lost), "s4": sums(rows, rows=rows, right=right + gained)},
        paired=Sums({"rows": rows, "b": lost, "c": gained}),
    )


CASES: list[tuple[Gate, Table, Table, Table]] = [  # gate, PASS, FAIL, HOLD
    (
        gate("error_rate", at_most=0.02),
        table({"p4": sums(3000, failed=10)}),
        table({"p4": sums(3000, failed=200)}),
        table({"p4": sums(100, failed=2)}),
    ),
    (
        gate("error_rate", margin=0.02),
        table({"p2": sums(9000, failed=90), "p4": sums(9000, failed=95)}),
        table({"p2": sums(9000, failed=90), "p4": sums(9000, failed=900)}),
        table({"p2": sums(100), "p4": sums(100)}),
    ),
    (
        gate("latency", at_most=50),
        table({"p4": sums(9000, latency_ms=5)}),
        table({"p4": sums(9000, latency_ms=80)}),
        table({"p4": sums(20, latency_ms=5)}),
    ),
    (
        gate("latency", margin=1.5, quantile=0.9),
        table({"p2": sums(9000), "p4": sums(9000)}),
        table({"p2": sums(9000), "p4": sums(9000, latency_ms=15)}),
        table({"p2": sums(9000), "p4": sums(9)}),
    ),
    (
        gate("accuracy", at_least=0.9),
        table({"s4": sums(rows=2000, right=1950)}),
        table({"s4": sums(rows=2000, right=1600)}),
        table({"s4": sums(rows=40, right=37)}),
    ),
    (
        gate("accuracy", margin=0.02),
        paired(2000, gained=20, lost=20),
        paired(210, lost=90),
        paired(50, lost=1),
    ),
    (
        gate("accuracy", margin=0.02),
        table({"p2": sums(rows=30_000, right=27_000), "p4": sums(rows=30_000, right=27_100)}),
        table({"p2": sums(rows=3000, right=2700), "p4": sums(rows=3000, right=2000)}),
        table({"p2": sums(rows=300, right=270), "p4": sums(rows=300, right=270)}),
    ),
    (
        gate("mae", at_most=10),
        table({"s4": Sums({"rows": 900, "ae": 4500, "se": 45_000})}),
        table({"s4": Sums({"rows": 900, "ae": 18_000, "se": 720_000})}),
        table({"s4": Sums({"rows": 31, "ae": 300, "se": 6000})}),
    ),
    (
        gate("reward", at_least=0.5),
        table({"p4": Sums({"rwn": 900, "rw": 700, "rw2": 650})}),
        table({"p4": Sums({"rwn": 900, "rw": 200, "rw2": 190})}),
        table({"p4": Sums({"rwn": 40, "rw": 21, "rw2": 21})}),
    ),
    (
        gate("reward", margin=0.1),
        table(
            {
                "p2": Sums({"rwn": 9000, "rw": 4500, "rw2": 4500}),
                "p4": Sums({"rwn": 9000, "rw": 4600, "rw2": 4600}),
            }
        ),
        table(
            {
                "p2": Sums({"rwn": 9000, "rw": 4500, "rw2": 4500}),
                "p4": Sums({"rwn": 9000, "rw": 900, "rw2": 900}),
            }
        ),
        table({"p2": Sums({"rwn": 90, "rw": 45, "rw2": 45}), "p4": Sums({"rwn": 90, "rw": 45, "rw2": 45})}),
    ),
    (
        gate("agreement", at_least=0.9),
        table(agreement=Sums({"rows": 2000, "agree": 1960})),
        table(agreement=Sums({"rows": 2000, "agree": 1500})),
        table(agreement=Sums({"rows": 30, "agree": 28})),
    ),
    (
        gate("drift", at_most=0.2),
        table(outputs={("p", "2"): {"a": 5000, "b": 5000}, ("s", "4"): {"a": 5050, "b": 4950}}),
        table(outputs={("p", "2"): {"a": 5000, "b": 5000}, ("s", "4"): {"a": 9000, "b": 1000}}),
        table(outputs={("p", "2"): {"a": 50, "b": 50}, ("s", "4"): {"a": 10, "b": 9}}),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].title}-{case[0].margin}")
def test_a_bound_is_kept_broken_or_open(case: tuple[Gate, Table, Table, Table]) -> None:
    of, *tables = case
    verdicts = [judged(of, found) for found in tables]
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PASS, Outcome.FAIL, Outcome.HOLD], verdicts
    for verdict in verdicts:
        assert verdict.gate == of.title
        assert verdict.value is not None
        assert verdict.observations > 0
        assert verdict.limit in (of.margin, of.at_most, of.at_least)
    hold = verdicts[-1]
    assert "not decided" in hold.sentence
    assert hold.more is None or f"about {hold.more:,}"[:7] in hold.sentence or hold.more > 99


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].title}-{case[0].margin}")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_broken_numbers_are_errors(case: tuple[Gate, Table, Table, Table], value: float) -> None:
    of, good, _, _ = case
    whole = Table(
        {key: Sums({**found.values, "us": value}) for key, found in good.roles.items()},
        {key: Sums({**found.values, "d": value}) for key, found in good.agreement.items()},
        {key: Sums({**found.values, "d": value}) for key, found in good.paired.items()},
        {},
        {key: {**found, "a": value} for key, found in good.outputs.items()},
    )
    verdict = judged(of, whole)
    assert verdict.outcome is Outcome.ERROR
    assert "could not be measured" in verdict.sentence


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].title}-{case[0].margin}")
def test_nothing_holds_and_unread_evidence_is_an_error(case: tuple[Gate, Table, Table, Table]) -> None:
    of = case[0]
    verdict = judged(of, table())
    assert verdict.outcome is Outcome.HOLD
    assert "yet" in verdict.sentence
    unread = judge_gate(of, baseline="2", candidate="4", evidence="Redis is away", step=WEIGHT)
    assert unread.outcome is Outcome.ERROR
    assert "Redis is away" in unread.sentence


@pytest.mark.parametrize(
    ("of", "whole", "sentence"),
    [
        (
            gate("accuracy", margin=0.01),
            paired(210, lost=90),
            "accuracy of 4 is at least 31.4 points worse than that of 2 (95 % sure, 210 paired labels);"
            " at most 1 point worse was allowed",
        ),
        (
            gate("accuracy", margin=0.05),
            paired(210, gained=90),
            "accuracy of 4 is at least 31.4 points better than that of 2 (95 % sure, 210 paired labels);"
            " at most 5 points worse is allowed",
        ),
        (
            gate("error_rate", at_most=0.02),
            table({"p4": sums(3000, failed=200)}),
            "error rate of 4 is at least 5.3 % (95 % sure, 3,000 requests); at most 2 % was allowed",
        ),
        (
            gate("latency", margin=1.5, quantile=0.9),
            table({"p2": sums(9000), "p4": sums(9000, latency_ms=15)}),
            "p90 latency of 4 is at least 2.38 times that of 2 (95 % sure, 9,000 requests of 4, 9,000 of 2);"
            " at most 1.5 times was allowed",
        ),
        (
            gate("accuracy", at_least=0.9),
            table({"s4": sums(rows=40, right=37)}),
            "not decided: accuracy of 4 is 92.5 %, between 66.3 % and 99.3 % (95 % sure, 40 labels);"
            " at least 90 % is asked; about 1,300 more labels are expected to be needed",
        ),
    ],
)
def test_sentences_an_operator_can_repeat(of: Gate, whole: Table, sentence: str) -> None:
    assert judged(of, whole).sentence == sentence


def test_callers_faults_do_not_count() -> None:
    theirs = sums(3000, **{"e:client_gone": 800, "e:invalid_input": 900, "e:dropped": 400})
    assert judged(gate("error_rate", at_most=0.02), table({"p4": theirs})).outcome is Outcome.PASS


def test_in_a_shadow_step_the_shadow_is_judged_else_the_primary() -> None:
    whole = table({"p2": sums(5000), "p4": sums(5000), "s4": sums(5000, failed=2000)})
    of = gate("error_rate", at_most=0.02)
    assert judged(of, whole, step=SHADOW).outcome is Outcome.FAIL
    assert judged(of, whole, step=WEIGHT).outcome is Outcome.PASS


def test_after_a_cutover_the_baseline_is_measured_by_what_it_did_before() -> None:
    of = gate("error_rate", margin=0.02)
    before = table({"p2": sums(9000, failed=90), "p4": sums(9000)})
    since = table({"p4": sums(9000, failed=95)})
    assert judged(of, before, in_step=since, step=CUTOVER).outcome is Outcome.PASS
    assert judged(of, before, in_step=since, step=WEIGHT).outcome is Outcome.HOLD


def test_too_few_labels_hold_even_a_clear_case_and_say_how_many_are_missing() -> None:
    verdict = judged(gate("accuracy", margin=0.01, min_labels=300), paired(210, lost=90))
    assert (verdict.outcome, verdict.more) == (Outcome.HOLD, 90)
    assert "210 of 300 labels of 4" in verdict.sentence


def test_young_predictions_are_not_judged_by_labels() -> None:
    of = gate("accuracy", margin=0.01, maturity_s=60)
    young, mature = paired(210, lost=90), paired(40)
    evidence = Evidence(rollout=young, step=young, mature_rollout={60.0: mature})
    verdict = judge_gate(of, baseline="2", candidate="4", evidence=evidence, step=WEIGHT)
    assert (verdict.outcome, verdict.observations) == (Outcome.HOLD, 40)
    assert verdict.sentence.endswith("; predictions of the last 60 s do not count yet")
    unread = replace(evidence, mature_rollout={})
    assert judge_gate(of, baseline="2", candidate="4", evidence=unread, step=WEIGHT).outcome is Outcome.ERROR


def test_a_gate_for_the_wrong_kind_of_label_is_an_error_that_names_the_right_one() -> None:
    numbers = table({"p2": Sums({"rows": 90, "ae": 9, "se": 9}), "p4": Sums({"rows": 90, "ae": 9, "se": 9})})
    classes = paired(100)
    for of, whole, name in (
        (gate("accuracy", at_least=0.9), numbers, "mae"),
        (gate("accuracy", margin=0.1), numbers, "mae"),
        (gate("mae", at_most=1), classes, "accuracy"),
        (gate("mae", margin=1), classes, "accuracy"),
    ):
        verdict = judged(of, whole)
        assert verdict.outcome is Outcome.ERROR
        assert f"use a gate on {name}" in verdict.sentence


def test_rewards_are_read_even_where_there_are_labels() -> None:
    both = {"rows": 900, "right": 900, "rwn": 900, "rw": 450, "rw2": 450}
    worse = {**both, "rw": 90, "rw2": 90}
    verdict = judged(gate("reward", margin=0.05), table({"p2": Sums(both), "p4": Sums(worse)}))
    assert verdict.outcome is Outcome.FAIL
    assert "rewards" in verdict.sentence


def test_a_slice_that_fails_fails_the_gate_and_is_named() -> None:
    of = gate("error_rate", at_most=0.02, slice="x-region", since="rollout")
    good, bad = table({"p4": sums(5000)}), table({"p4": sums(500, failed=100)})
    slices = {("x-region", "eu"): good, ("x-region", "us"): bad, ("x-other", "a"): bad}
    verdict = judged(of, table({"p4": sums(9000)}, slices=slices))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.sentence.startswith("x-region = us: error rate per x-region of 4 is at least")
    passed = judged(of, table(slices={("x-region", "eu"): good, ("x-region", "us"): good}))
    assert passed.outcome is Outcome.PASS
    assert judged(of, table(slices={("x-other", "a"): bad})).outcome is Outcome.HOLD
    small = table({"p4": sums(3)})
    held = judged(of, table(slices={("x-region", "eu"): good, ("x-region", "us"): small}))
    assert (held.outcome, held.sentence[:13]) == (Outcome.HOLD, "x-region = us")


def test_more_slices_share_the_same_error() -> None:
    of = gate("error_rate", at_most=0.02, slice="x-region", since="rollout")
    bad = table({"p4": sums(100, failed=10)})
    alone = judged(of, table(slices={("x-region", "eu"): bad}))
    others = {("x-region", f"r{index:02}"): table({"p4": sums(100, failed=2)}) for index in range(40)}
    among = judged(of, table(slices={("x-region", "eu"): bad, **others}))
    assert (alone.outcome, among.outcome) == (Outcome.FAIL, Outcome.HOLD)


def test_gates_of_a_step_are_the_plans_then_its_own_and_none_in_a_pause() -> None:
    own = {"metric": "latency", "at_most": 50}
    of = plan({"weight": 5, "gates": [own]}, {"pause": {}}, gates=[{"metric": "error_rate", "at_most": 0.02}])
    assert [found.metric for found in gates_of(of, of.steps[0])] == ["error_rate", "latency"]
    assert gates_of(of, of.steps[1]) == ()


@pytest.mark.parametrize(
    ("of", "is_plans", "alpha"),
    [
        (gate("error_rate", at_most=0.1), True, 0.05 / 4),  # a new window in each of four steps
        (gate("error_rate", at_most=0.1), False, 0.05),  # in one step only
        (gate("error_rate", at_most=0.1, since="rollout"), True, 0.025),  # as shadow, then as primary
        (gate("accuracy", margin=0.1), True, 0.05),  # one window, one test
        (gate("accuracy", margin=0.1, since="step"), True, 0.05 / 4),
    ],
)
def test_the_error_holds_for_the_whole_rollout(of: Gate, is_plans: bool, alpha: float) -> None:
    steps: Plan = plan({"shadow": 100}, {"weight": 5}, {"pause": {}}, {"weight": 20}, {"cutover": {}})
    assert alpha_of(steps, of, is_plans=is_plans) == pytest.approx(alpha)


def test_an_outside_verdict_gets_the_gates_name() -> None:
    of = plan(
        {"weight": 5}, gates=[{"metric": "webhook", "url": "http://w", "name": "lawyers", "blocks": False}]
    )
    said = Verdict(gate="?", outcome=Outcome.PASS, sentence="fine")
    (verdict,) = judge_step(of, of.steps[0], "away", baseline="2", candidate="4", external={0: said})
    assert (verdict.gate, verdict.outcome, verdict.blocks) == ("lawyers", Outcome.PASS, False)


def test_a_margin_of_nothing_says_what_it_asks_for() -> None:
    verdict = judged(gate("accuracy", margin=0), paired(5000, gained=50, lost=50))
    assert verdict.outcome is Outcome.HOLD
    assert "accuracy of 4 is like that of 2, between 0.676 points better and 0.676" in verdict.sentence
    assert "only a version that is shown to be better can pass a margin of 0" in verdict.sentence


@pytest.mark.parametrize("step", [{"shadow": 0}, {"weight": 0}, {"pause": {}}])
def test_a_step_that_gives_the_candidate_nothing_is_not_judged(step: dict[str, Any]) -> None:
    of = plan({"shadow": 100}, step, gates=[{"metric": "error_rate", "at_most": 0.1}])
    assert gates_of(of, of.steps[1]) == ()
    assert alpha_of(of, of.gates[0], is_plans=True) == pytest.approx(0.05)


def test_copies_beside_no_weight_are_judged_as_copies() -> None:
    whole = table({"s4": sums(5000, failed=2000)})
    step = Step.model_validate({"weight": 0, "shadow": 100})
    assert judged(gate("error_rate", at_most=0.02), whole, step=step).outcome is Outcome.FAIL


STATISTICS = st.sampled_from(
    ["n", "ok", "us", "h3", "h85", "right", "rows", "ae", "se", "rw", "rw2", "rwn", "e:deadline", "b", "c",
     "d", "d2", "agree"]
)  # fmt: skip
VALUES = st.one_of(st.integers(-2, 10**9), st.floats(allow_nan=True, allow_infinity=True))
SUMS = st.dictionaries(STATISTICS, VALUES, max_size=8).map(Sums)
ODD = st.builds(
    Table,
    st.dictionaries(st.sampled_from([("p", "2"), ("p", "4"), ("s", "4")]), SUMS),
    st.dictionaries(st.just(("2", "4")), SUMS),
    st.dictionaries(st.sampled_from([("2", "4"), ("4", "2")]), SUMS),
    st.just({}),
    st.dictionaries(
        st.sampled_from([("p", "2"), ("s", "4")]), st.dictionaries(st.sampled_from("abc"), VALUES)
    ),
)


@settings(deadline=None, max_examples=300)
@given(ODD, st.sampled_from([case[0] for case in CASES]), st.sampled_from([WEIGHT, SHADOW, CUTOVER]))
def test_no_evidence_however_odd_is_an_exception_or_passes_without_observations(
    whole: Table, of: Gate, step: Step
) -> None:
    verdict = judged(of, whole, step=step)
    numbers = (verdict.value, verdict.low, verdict.high, verdict.limit)
    assert all(number is None or math.isfinite(number) for number in numbers)
    if verdict.outcome in (Outcome.PASS, Outcome.FAIL):
        assert verdict.observations > 0
    assert Verdict.model_validate(verdict.model_dump()) == verdict
