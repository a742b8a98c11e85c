"""A fault that fails every request leaves a bounded number of lines, and says how many it left out."""

import logging

import pytest

from gateway.dataplane import incidents
from gateway.dataplane.incidents import MOST_A_SECOND, Incidents
from gateway.dataplane.table import Target


class Version2(Target):
    """As much of a target as a line names."""

    def __init__(self) -> None:
        self.model, self.version, self.revision = "digits", "2", 42


TARGET = Version2()


def test_lines_are_bounded_and_the_rest_is_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr(incidents, "monotonic", lambda: now_s)
    caplog.set_level(logging.WARNING, "turnout.gateway.requests")
    made = Incidents()
    for _ in range(MOST_A_SECOND + 7):
        made.say("a prediction of", TARGET, {}, {"error": "deadline"})
    assert len(caplog.records) == MOST_A_SECOND
    now_s += 1
    made.say("a prediction of", TARGET, {}, {"error": "deadline"})
    made.say("a prediction of", TARGET, {}, {"error": "deadline"})
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
    Incidents().say("an attempt at", TARGET, headers, {"error": "reset"})
    Incidents().say("an attempt at", TARGET, {b"traceparent": b"nonsense"}, {"error": "reset"})
    told, bare = (vars(record) for record in caplog.records)
    assert (told["request_id"], told["prediction_id"]) == ("r" * 128, "order-1")
    assert told["trace_id"] == trace.decode()
    assert (told["model"], told["version"], told["revision"]) == ("digits", "2", 42)
    assert caplog.records[0].getMessage() == "an attempt at digits 2 failed: reset"
    assert not {"request_id", "prediction_id", "trace_id"} & bare.keys()
