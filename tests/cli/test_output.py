"""What moves while one waits, and what a terminal gets that a pipe does not."""

import io
import re
import sys
import threading

import pytest

from gateway.cli import progress as module
from gateway.cli.output import Output, frame
from gateway.cli.progress import Progress, nothing_drawn, progress


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
