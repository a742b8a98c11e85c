"""Locust's users: skewed units, labels when they are due, and a table by version."""

import json
from collections import Counter
from random import Random

from loadtests.scenario import Labels, PerVersion, Units, label_in, lines


def test_a_few_units_ask_often() -> None:
    units, chance = Units(1000), Random(3)
    drawn = Counter(units.draw(chance) for _ in range(20_000))
    assert 0.11 < drawn["unit-0"] / 20_000 < 0.16  # 1 / (1 + 1/2 + ... + 1/1000) = 0.134
    assert drawn["unit-0"] > 5 * drawn["unit-9"]
    assert len(drawn) > 900


def test_labels_come_when_they_are_due_and_once() -> None:
    labels = Labels()
    for number, due_s in enumerate([3.0, 1.0, 2.0]):
        labels.learn_later(due_s, f"id-{number}", float(number))
    assert labels.due(0.5) == []
    assert labels.due(2.0) == [("id-1", 1.0), ("id-2", 2.0)]
    assert labels.due(float("inf")) == [("id-0", 0.0)]
    assert labels.due(float("inf")) == []


def test_feedback_is_one_object_a_line() -> None:
    text = lines([("a", 1.0), ("b", 7.0)])
    assert [json.loads(line) for line in text.splitlines()] == [
        {"prediction_id": "a", "label": 1.0},
        {"prediction_id": "b", "label": 7.0},
    ]


def test_counts_travel_between_processes_and_are_not_counted_twice() -> None:
    worker, master = PerVersion(), PerVersion()
    for right in (True, True, False):
        tally = worker.of("digits", "2")
        tally.predictions += 1
        tally.right += right
    master.add(json.loads(json.dumps(worker.taken())))
    master.add(worker.taken())
    assert (master.of("digits", "2").predictions, master.of("digits", "2").right) == (3, 2)
    assert "66.7%" in master.table()


def test_the_label_is_found_in_a_reply() -> None:
    assert label_in({"outputs": [{"name": "p", "data": [0.1]}, {"name": "label", "data": [4]}]}) == 4.0
    assert label_in({"outputs": []}) is None
