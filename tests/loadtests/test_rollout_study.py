"""`loadtests.rollout_study`: the simulated truth is what it says, and the counting is right."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gateway.contract.route import Route
from gateway.core.evidence.scores import faults
from gateway.core.evidence.sums import Table
from gateway.core.rollouts.rehearse import EMPTY, sum_of
from loadtests.rollout_page import Alarms, Cell, page
from loadtests.rollout_study import (
    TEMPLATES,
    TRUTHS,
    at_most,
    beyond,
    bounds,
    count_alarms,
    simulate,
    template,
)
from loadtests.rollout_world import KnownWorld, Truth

COPIED = Route.model_validate(
    {
        "model": "digits",
        "split": [{"version": "2", "weight": 80}, {"version": "4", "weight": 20}],
        "shadows": [{"version": "4", "percent": 50}],
    }
)


def observed(truth: Truth, *, ticks: int = 400) -> tuple[Table, KnownWorld]:
    world = KnownWorld(truth, np.random.default_rng(5))
    total = EMPTY
    for _ in range(ticks):
        total = sum_of(total, world.passed(COPIED, 10.0).added)
    return total, world


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: truth.name)
def test_the_world_is_as_true_as_it_says(truth: Truth) -> None:
    total, world = observed(truth)
    whole, few = total.roles["p", "2"], total.roles["p", "4"]
    assert whole["n"] / (whole["n"] + few["n"]) == pytest.approx(0.8, abs=0.01)
    assert total.roles["s", "4"]["n"] / whole["n"] == pytest.approx(0.5, abs=0.01)
    assert faults(few) / few["n"] == pytest.approx(truth.errors[1], abs=0.003)
    if truth.coverage:
        for role, version, accuracy in (("p", "2", 0), ("p", "4", 1), ("s", "4", 1)):
            found = total.roles[role, version]
            assert found["right"] / found["rows"] == pytest.approx(truth.accuracy[accuracy], abs=0.01)
        pairs = total.paired["2", "4"]
        gained = truth.accuracy[1] - truth.accuracy[0]
        assert (pairs["c"] - pairs["b"]) / pairs["rows"] == pytest.approx(gained, abs=0.01)
    else:
        assert not total.paired
    assert 0 < world.exposed <= 0.2 * truth.units


def test_labels_come_late() -> None:
    world = KnownWorld(Truth("late", label_delay_s=60), np.random.default_rng(5))
    seen = [world.passed(COPIED, 10.0).added.roles["p", "2"]["rows"] > 0 for _ in range(8)]
    assert seen == [False] * 6 + [True] * 2


def test_an_upper_end_is_the_exact_one() -> None:
    for k, n in ((0, 20), (3, 100), (60, 2000)):
        assert at_most(k, n) == pytest.approx(stats.beta.ppf(0.95, k + 1, n - k), abs=1e-9)


def test_what_breaks_a_plan_is_known() -> None:
    truths = {truth.name: truth for truth in TRUTHS}
    careful = template("careful")
    assert beyond(careful, truths["equal"]) == ()
    assert beyond(careful, truths["5 points worse"]) == ("accuracy",)
    assert beyond(careful, truths["3 times the latency"]) == ("p95 latency",)
    assert beyond(careful, truths["2 % errors"]) == ("error rate",)


def test_a_small_study_gives_a_page_with_every_row() -> None:
    cells = [simulate("fast", truth, 2, seed=3) for truth in TRUTHS[:4]]
    assert [(cell.promoted, cell.sent_back) for cell in cells[:2]] == [(2, 0), (2, 0)]
    assert cells[3].sent_back == 2
    alarms = count_alarms(*bounds()[1], 3, seed=3)
    assert alarms.looks >= 120
    text = page(cells, [alarms], seed=3)
    assert text.count("| fast |") == 4
    assert "| error rate, margin 0.01 | 5.0% | 3 |" in text


def test_every_template_for_classes_is_studied() -> None:
    assert set(TEMPLATES) == {"careful", "standard", "fast", "shadow-only", "blue-green", "demo"}


ROOT = Path(__file__).resolve().parents[2]


def kept() -> tuple[list[Cell], list[Alarms], int]:
    found = json.loads((ROOT / "loadtests" / "results" / "rollout-study.json").read_text())
    cells = [Cell(**{**cell, "beyond": tuple(cell["beyond"])}) for cell in found["cells"]]
    return cells, [Alarms(**alarms) for alarms in found["alarms"]], found["seed"]


def test_the_page_says_what_the_kept_results_say() -> None:
    cells, alarms, seed = kept()
    assert (ROOT / "docs" / "rollouts-study.md").read_text() == page(cells, alarms, seed=seed)


def test_in_two_thousand_rollouts_false_alarms_kept_to_the_error_that_is_stated() -> None:
    _, alarms, _ = kept()
    for found in alarms:
        assert found.rollouts >= 2000
        assert found.looks >= 120
        assert found.fails_at_most <= found.allowed, found
        assert found.passes_at_most <= found.allowed, found


def test_no_candidate_that_breaks_a_gate_with_evidence_was_promoted_and_no_good_one_sent_back() -> None:
    cells, _, _ = kept()
    assert {cell.template for cell in cells} == set(TEMPLATES)
    for cell in cells:
        if cell.beyond and "no labels" not in cell.truth:
            assert cell.promoted <= 0.05 * cell.rollouts, cell
        if not cell.beyond:
            assert cell.sent_back <= 0.05 * cell.rollouts, cell
