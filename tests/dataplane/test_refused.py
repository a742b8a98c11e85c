"""What was refused in the last minute, out of counters that only grow."""

from collections import Counter

from gateway.dataplane.refused import SPAN_S, LastMinute


def test_what_was_refused_is_told_for_a_minute_and_then_no_more() -> None:
    counts: Counter[str] = Counter()
    minute = LastMinute()
    assert minute.read(counts, 100.0) == {}
    counts["unauthenticated"] += 3
    assert minute.read(counts, 101.0) == {"unauthenticated": 3}
    counts.update({"unauthenticated": 1, "over_limit": 2})
    assert minute.read(counts, 130.0) == {"unauthenticated": 4, "over_limit": 2}
    assert minute.read(counts, 101.0 + SPAN_S) == {"unauthenticated": 1, "over_limit": 2}
    assert minute.read(counts, 130.0 + SPAN_S) == {}


def test_readings_in_quick_succession_are_not_all_kept() -> None:
    counts: Counter[str] = Counter()
    minute = LastMinute()
    found: dict[str, int] = {}
    for step in range(6000):
        counts["over_limit"] += 1
        found = minute.read(counts, 1000 + step / 50)
    assert 60 * 50 <= found["over_limit"] <= 61 * 50 + 1
    assert len(minute._readings) <= SPAN_S + 2
