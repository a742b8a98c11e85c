"""A fault that fails every request leaves a bounded number of lines, and says how many it left out."""

import logging

import pytest

from gateway.dataplane import incidents
from gateway.dataplane.incidents import MOST_A_SECOND, Incidents


def test_lines_are_bounded_and_the_rest_is_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr(incidents, "monotonic", lambda: now_s)
    caplog.set_level(logging.WARNING, "turnout.gateway.requests")
    made = Incidents()
    for _ in range(MOST_A_SECOND + 7):
        made.say("it failed", {}, {"model": "m"})
    assert len(caplog.records) == MOST_A_SECOND
    now_s += 1
    made.say("it failed", {}, {"model": "m"})
    made.say("it failed", {}, {"model": "m"})
    first, second = caplog.records[-2:]
    assert vars(first)["left_out"] == 7
    assert "left_out" not in vars(second)


def test_a_line_bears_the_ids_that_the_request_has(caplog: pytest.LogCaptureFixture) -> None:
    trace = b"4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {
        b"x-request-id": b"r" * 500,
        b"turnout-prediction-id": b"order-1",
        b"traceparent": b"00-%b-00f067aa0ba902b7-00" % trace,
    }
    Incidents().say("it failed", headers, {})
    Incidents().say("it failed", {b"traceparent": b"nonsense"}, {})
    told, bare = (vars(record) for record in caplog.records)
    assert (told["request_id"], told["prediction_id"]) == ("r" * 128, "order-1")
    assert told["trace_id"] == trace.decode()
    assert not {"request_id", "prediction_id", "trace_id"} & bare.keys()
