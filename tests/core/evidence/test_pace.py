"""Requests a second from counters of minutes."""

import pytest

from gateway.core.evidence.pace import SPAN_S, Pace

KEY = ("p", "1")


def test_the_first_reading_says_what_whole_minutes_say() -> None:
    assert Pace().read({10: {KEY: 30.0}, 11: {KEY: 15.0}}, 11 * 60 + 30.0) == {KEY: 0.5}


def test_a_change_shows_within_the_span_and_the_turn_of_a_minute_does_not() -> None:
    pace, minute, total = Pace(), 10, {10: 0.0, 11: 0.0}
    rates = []
    for second in range(30, 90):  # 2 a second, across the turn of the minute
        total[minute + second // 60] += 2
        counts = {
            number: {KEY: count} for number, count in total.items() if number >= minute + second // 60 - 1
        }
        rates.append(pace.read(counts, minute * 60 + float(second)).get(KEY, 0.0))
    assert rates[5:] == pytest.approx([2.0] * len(rates[5:]))


def test_a_version_that_nobody_asks_any_more_comes_to_nothing() -> None:
    pace, counts = Pace(), {10: {KEY: 100.0}}
    rates = [pace.read(counts, 600.0 + second) for second in range(int(SPAN_S) + 2)]
    assert rates[-1] == {KEY: 0.0}


def test_counters_that_begin_anew_are_no_negative_traffic() -> None:
    """Redis lost its data."""
    pace = Pace()
    pace.read({10: {KEY: 100.0}}, 600.0)
    pace.read({10: {KEY: 5.0}}, 605.0)
    assert pace.read({10: {KEY: 10.0}}, 608.0)[KEY] >= 0
