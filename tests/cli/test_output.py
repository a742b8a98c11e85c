"""What moves while one waits, and what a terminal gets that a pipe does not."""

import io
import re
import sys
import threading
from typing import cast

import pytest

from gateway.cli import progress as module
from gateway.cli.client import ControlClient
from gateway.cli.output import Output, frame
from gateway.cli.progress import Progress, nothing_drawn, progress
from gateway.cli.session import Session, advise_after


class Terminal(io.StringIO):
    """`drawn` is set with the first thing that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.drawn.set()
        return super().write(text)


def terminal_in(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put in place by the test itself: pytest puts its own stderr back before each one."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(module, "SHOWN_AFTER_S", 0.0)
    return terminal


def test_on_a_terminal_something_moves_and_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal_in(monkeypatch)
    with progress("waiting for workers"):
        assert stderr.drawn.wait(5)
    shown = stderr.getvalue()
    assert "waiting for workers" in shown
    assert shown.endswith("\r\x1b[K")


def test_what_is_quick_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal_in(monkeypatch)
    monkeypatch.setattr(module, "SHOWN_AFTER_S", 60.0)
    with progress("waiting"):
        pass
    assert stderr.getvalue() == ""


def test_a_pipe_gets_nothing_and_a_whole_screen_is_not_drawn_into(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = terminal_in(monkeypatch)
    with nothing_drawn(), progress("waiting"):
        pass
    monkeypatch.setattr(stderr, "isatty", lambda: False)
    with progress("waiting"):
        pass
    assert stderr.getvalue() == ""
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_transfer_says_how_far_it_is() -> None:
    told = Progress("uploading", of_bytes=2_000_000, done_bytes=1_000_000).told("|", 3.0)
    assert "50% of 2.0 MB, 3 s" in told


def test_no_color_is_obeyed_and_pipes_are_plain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Output(is_json=False).table(("a", "b>"), [("x", 1)])
    assert capsys.readouterr().out == "A  B\nx  1\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    with frame() as text:
        Output(is_json=False).table(("a", "b>"), [("x", 1)])
    assert not re.search(r"\x1b\[[0-9;]*[34][0-7]m", text.getvalue())


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_may_be_typed_next_is_for_people_who_look(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_terminal: bool
) -> None:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    result = {"changed": True, "dry_run": False, "model": "digits", "previous_revision": 8, "revision": 9}
    for is_json in (True, False):
        advise_after(Session(cast(ControlClient, None), Output(is_json=is_json)), result)
    with frame() as watched:
        Output(is_json=False).advise(("undo:", "turnout"))
    told = capsys.readouterr()
    assert (told.out, watched.getvalue()) == ("", "")
    commands = [line.partition(":")[2].strip() for line in told.err.splitlines()]
    assert commands == (
        ["turnout compare digits", "turnout route rollback digits --to 8", "turnout audit show 9"]
        if is_terminal
        else []
    )


ROWS = [["1", "382", "4.52 ms", "83.2% right"], ["2", "18", "92.7 ms", "100.0% right"]]
WHY = "always, split 90 %, fallback, rollout r6b06b5d7 may go back to it"


@pytest.mark.parametrize("width", [24, 80])
@pytest.mark.parametrize("why", ["", WHY])
def test_a_terminal_that_is_too_narrow_costs_no_digit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, why: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    rows = [[*row[:2], why, *row[2:]] for row in ROWS]
    Output(is_json=False).table(("version", "requests>", "why", "p99>", "score>"), rows)
    told = capsys.readouterr().out
    for word in ("version", "requests", "382", "92.7 ms", "100.0% right", *why.split()):
        assert word in told


def test_versions_stay_side_by_side_where_the_last_column_can_fold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    Output(is_json=False).table(("version", "requests>", "accuracy"), [["1", "3652", "84.1% [82.0 86.0]"]])
    assert "3652  84.1%" in capsys.readouterr().out
