"""The line that a call leaves in the log: what names it, and nothing that could be a secret."""

import logging

import pytest

from gateway.control.said import Said

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
USUAL = frozenset(vars(logging.makeLogRecord({})))
SECRET = "tk_0123456789_" + "s" * 43


def line(caplog: pytest.LogCaptureFixture, path: str, traceparent: str) -> logging.LogRecord:
    caplog.set_level(logging.INFO, "turnout.control.calls")
    headers = [(b"authorization", f"Bearer {SECRET}".encode())]
    scope = {"method": "PUT", "path": path, "query_string": f"key={SECRET}".encode(), "headers": headers}
    said = Said(scope, "deploy-7", traceparent)
    said.status = 200
    said.ended("root")
    return caplog.records[-1]


def test_a_line_has_the_ids_of_its_call_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    record = line(caplog, "/api/v1/apply", f"00-{TRACE}-00f067aa0ba902b7-00")
    assert record.getMessage() == "PUT /api/v1/apply 200"
    told = {name: value for name, value in vars(record).items() if name not in USUAL | {"message"}}
    assert told.keys() == {"request_id", "status", "took_ms", "caller", "trace_id"}
    assert (told["request_id"], told["caller"], told["trace_id"]) == ("deploy-7", "root", TRACE)
    assert SECRET not in repr(vars(record))


def test_what_a_caller_chooses_makes_no_line_long_or_strange(caplog: pytest.LogCaptureFixture) -> None:
    record = line(caplog, "/" + "x" * 5000, "nonsense")
    assert len(record.getMessage()) < 250
    assert not hasattr(record, "trace_id")
