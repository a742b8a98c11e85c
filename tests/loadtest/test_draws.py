"""Skewed units, and labels when they are due."""

import json
from collections import Counter
from random import Random

from gateway.loadtest.draws import Label, Labels, Units, lines


def test_a_few_units_ask_often() -> None:
    units, chance = Units(1000, "zipf"), Random(3)
    drawn = Counter(units.draw(chance) for _ in range(20_000))
    assert 0.11 < drawn["unit-0"] / 20_000 < 0.16  # 1 / (1 + 1/2 + ... + 1/1000) = 0.134
    assert drawn["unit-0"] > 5 * drawn["unit-9"]
    assert len(drawn) > 900


def test_without_skew_all_units_ask_alike() -> None:
    units, chance = Units(10, "uniform"), Random(3)
    drawn = Counter(units.draw(chance) for _ in range(10_000))
    assert len(drawn) == 10
    assert all(900 < count < 1100 for count in drawn.values())


def label(due_s: float, name: str) -> Label:
    return Label(due_s, name, 7, "1")


def test_labels_come_when_they_are_due_and_once() -> None:
    labels = Labels(10)
    for number, due_s in enumerate([3.0, 1.0, 2.0]):
        labels.learn_later(label(due_s, f"id-{number}"))
    assert labels.due(0.5, 10) == []
    assert [each.prediction_id for each in labels.due(2.0, 10)] == ["id-1", "id-2"]
    assert [each.prediction_id for each in labels.due(float("inf"), 10)] == ["id-0"]
    assert labels.due(float("inf"), 10) == []


def test_labels_beyond_the_bound_are_left_out_and_counted() -> None:
    labels = Labels(2)
    for number in range(5):
        labels.learn_later(label(1.0, f"id-{number}"))
    assert labels.left_out == 3
    assert len(labels.due(1.0, 10)) == 2


def test_feedback_is_one_object_a_line() -> None:
    text = lines([label(0, "a"), Label(0, "b", "cat", "2")])
    assert [json.loads(line) for line in text.splitlines()] == [
        {"prediction_id": "a", "label": 7},
        {"prediction_id": "b", "label": "cat"},
    ]
