"""`gateway.core.evidence.traffic`: what happened to a model's requests between two readings of its
evidence?"""

import pytest

from gateway.contract.latency import bucket_of
from gateway.core.evidence.traffic import between, traffic

SLOW, FAST = f"h{bucket_of(9_000)}", f"h{bucket_of(400)}"


def test_a_window_is_what_the_later_reading_has_more() -> None:
    earlier = {7: {"p|1|n": 100.0, "p|1|ok": 99.0}}
    later = {7: {"p|1|n": 130.0, "p|1|ok": 99.0}, 8: {"p|2|n": 5.0}}
    assert between(earlier, later) == {7: {"p|1|n": 30.0}, 8: {"p|2|n": 5.0}}


def test_primaries_are_added_and_shadows_left_out() -> None:
    seen = traffic(
        {
            7: {"p|1|n": 98, "p|1|ok": 97, "p|1|e:deadline": 1, f"p|1|{FAST}": 97, "s|3|n": 50, "s|3|e:x": 9},
            8: {"p|2|n": 2, "p|2|ok": 2, f"p|2|{SLOW}": 2},
        }
    )
    assert seen.requests == 100
    assert seen.failures == {"deadline": 1}
    assert seen.requests_by_version == {"1": 98, "2": 2}
    assert seen.p50_ms == pytest.approx(0.4, rel=0.2)
    assert seen.p99_ms == pytest.approx(9, rel=0.2)


def test_nothing_seen_has_no_latency() -> None:
    seen = traffic({})
    assert (seen.requests, seen.failures, seen.p50_ms, seen.p99_ms) == (0, {}, None, None)
