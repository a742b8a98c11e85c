"""Versions measured in turn: fair orders, ratios within rounds, and noise that is called so."""

import json
import random

import pytest

from gateway.loadtest.agreement import agreements, score_of
from gateway.loadtest.rounds import Slot, middle, orders, ratio
from gateway.loadtest.scenario import Input


def slot(version: str, number: int, ms: float | None) -> Slot:
    return Slot(version, number, requests=10, failed=0, per_second=1.0, p50_ms=ms, p99_ms=ms, cpu_us=None)


def test_every_order_is_followed_by_its_reverse() -> None:
    found = list(orders(["1", "2", "3"], 6, random.Random(1)))
    assert all(sorted(order) == ["1", "2", "3"] for order in found)
    assert [order[::-1] for order in found[::2]] == found[1::2]
    assert len({tuple(order) for order in orders(["1", "2", "3"], 40, random.Random(1))}) == 6


def test_a_drift_of_the_machine_does_not_hide_a_difference() -> None:
    """Each round is twice as slow as the one before it, and version 2 takes a tenth more in each."""
    slots = [slot("1", number, 2.0**number) for number in range(8)]
    slots += [slot("2", number, 1.1 * 2.0**number * (1 + 0.01 * (number % 2))) for number in range(8)]
    found = ratio(slots, "p50_ms", version="2", baseline="1")
    assert found is not None
    assert found.value == pytest.approx(1.105, rel=0.01)
    assert not found.is_noise
    assert "noise" not in found.sentence


def test_equal_versions_are_called_different_seldom() -> None:
    chance, false = random.Random(7), 0
    for _ in range(300):
        slots = [
            slot(version, number, chance.lognormvariate(0, 0.3)) for number in range(10) for version in "12"
        ]
        found = ratio(slots, "p99_ms", version="2", baseline="1")
        assert found is not None
        false += not found.is_noise
    assert false <= 27  # 5 % of 300 are 15


def test_one_round_says_nothing_about_noise() -> None:
    assert ratio([slot("1", 1, 1.0), slot("2", 1, 2.0)], "p50_ms", version="2", baseline="1") is None
    assert ratio([], "cpu_us", version="2", baseline="1") is None


def test_a_value_that_is_not_known_is_left_out() -> None:
    assert middle([slot("1", 1, None), slot("1", 2, 4.0)], "p50_ms", "1") == 4.0
    assert middle([slot("1", 1, None)], "p50_ms", "1") is None


def answer(value: object, datatype: str = "INT64") -> bytes:
    return json.dumps({"outputs": [{"name": "label", "datatype": datatype, "data": [value]}]}).encode()


def test_versions_agree_on_the_inputs_that_both_answered() -> None:
    (found,) = agreements(
        {"1": {0: answer(1), 1: answer(2), 2: answer(3)}, "2": {0: answer(1), 1: answer(9)}}
    )
    assert (found.share.n, found.share.value, found.apart) == (2, 0.5, None)


def test_numbers_are_apart_by_their_mean_difference() -> None:
    (found,) = agreements({"1": {0: answer(1.5, "FP32")}, "2": {0: answer(2.0, "FP32")}})
    assert found.apart == 0.5


def test_a_score_counts_the_inputs_with_a_label() -> None:
    inputs = [Input(body="{}", label=1), Input(body="{}", label=2), Input(body="{}")]
    found = score_of({0: answer(1), 1: answer(1), 2: answer(1)}, inputs)
    assert found.accuracy is not None
    assert (found.scored, found.accuracy.value, found.error) == (2, 0.5, None)
