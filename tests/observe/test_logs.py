"""One line a record: for people on a terminal, as JSON for programs."""

import json
import logging
from collections.abc import Iterator

import pytest

from gateway.observe import logs


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_without_a_terminal_every_line_is_one_json_object_with_its_data(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("INFO", process="gateway[0]")
    logging.getLogger("turnout.gateway").info("serving %s", "digits", extra={"revision": 42, "at": {1: b"x"}})
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert found["message"] == "serving digits"
    assert found["level"] == "info"
    assert found["logger"] == "turnout.gateway"
    assert found["process"] == "gateway[0]"
    assert found["revision"] == 42
    assert found["time"].endswith("+00:00")


def test_a_traceback_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True)
    try:
        raise RuntimeError("broken\nin two")
    except RuntimeError:
        logging.getLogger("turnout").exception("it broke")
    (line,) = capsys.readouterr().err.splitlines()
    assert "RuntimeError: broken" in json.loads(line)["exception"]


def test_people_read_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", json=False, process="up")
    logging.getLogger("turnout").info("not shown")
    logging.getLogger("turnout").warning("shown")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("up WARNING turnout: shown")


def test_configuring_twice_does_not_say_everything_twice(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True)
    logs.configure(json=True)
    logging.getLogger("turnout").warning("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", ["httpx2", "uvicorn.access"])
def test_addresses_that_a_library_would_tell_are_not_told(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """There may be a key in one, although it is refused."""
    logs.configure("DEBUG", json=True)
    logging.getLogger(name).info("GET http://bob:hunter2@store/?key=hunter2")
    assert capsys.readouterr().err == ""
