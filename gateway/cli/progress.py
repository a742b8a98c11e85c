"""Something moves while a command waits longer than a second: on terminals only, and on stderr.

`progress` may stand inside another one; the innermost is told. Called by the client around each request, and
by commands that wait for a state.
"""

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SHOWN_AFTER_S = 1.0
STEP_S = 0.2
_TURNS = "|/-\\"
_WIDTH = 30


@dataclass(slots=True)
class Progress:
    """What is going on; with `of_bytes` known, how far."""

    words: str
    of_bytes: int = 0
    done_bytes: int = 0

    def told(self, turn: str, waited_s: float) -> str:
        if not self.of_bytes:
            return f"{turn} {self.words} … {waited_s:.0f} s"
        share = min(1.0, self.done_bytes / self.of_bytes)
        bar = "#" * round(share * _WIDTH)
        return f"{self.words} [{bar:<{_WIDTH}}] {share:.0%} of {self.of_bytes / 1e6:.1f} MB, {waited_s:.0f} s"


_open: list[Progress] = []


@contextmanager
def progress(words: str) -> Iterator[Progress]:
    told = Progress(words)
    _open.append(told)
    try:
        if len(_open) > 1 or not sys.stderr.isatty():
            yield told
        else:
            with _drawn():
                yield told
    finally:
        _open.remove(told)


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """For who draws the whole screen."""
    told = Progress("")
    _open.append(told)  # so that what is within is not the outermost
    try:
        yield
    finally:
        _open.remove(told)


@contextmanager
def _drawn() -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=_draw, args=(over,), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _draw(over: threading.Event) -> None:
    began_s = time.monotonic()
    if over.wait(SHOWN_AFTER_S):
        return
    for turn in itertools.cycle(_TURNS):
        told = _open[-1] if _open else None
        if told is not None:
            sys.stderr.write(f"\r\x1b[K{told.told(turn, time.monotonic() - began_s)}")
            sys.stderr.flush()
        if over.wait(STEP_S):
            break
    sys.stderr.write("\r\x1b[K")
    sys.stderr.flush()
