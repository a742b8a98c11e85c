"""Workers as child processes of the supervisor.

A child asks the kernel for SIGTERM at its parent's death (`contract.lifeline`), so that a supervisor that was
killed leaves nobody behind. It is in a process group of its own: Ctrl-C on a terminal reaches the supervisor
alone, which then drains its workers. What it says goes through a pipe to where the supervisor itself speaks,
so that its last words are known; the pipe never blocks the worker, however long the supervisor sleeps.
Called by `workers.supervisor`.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Protocol

from gateway.contract.lifeline import child_environment

READ_BYTES = 65_536
LINE_BYTES = 2_000  # of the last line


class Process(Protocol):
    """A started worker; `poll` gives the exit code once it has ended (negative: the signal)."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def last_words(self) -> str: ...


Launch = Callable[
    [list[str], str], Process
]  # command and settings; raises OSError when the process cannot be started


class Child:
    """A process with a pipe for what it says; `poll` passes on what has come."""

    def __init__(self, command: list[str], settings: str) -> None:
        self._pipe, writing = os.pipe()
        try:
            os.set_blocking(self._pipe, False)
            os.set_blocking(writing, False)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env=child_environment(settings),
                process_group=0,
            )
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(writing)
        self._last = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        code = self._process.poll()
        self._pass_on()
        if code is not None and self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        return code

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def last_words(self) -> str:
        """The last line that is not empty."""
        lines = self._last.decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _pass_on(self) -> None:
        while self._pipe >= 0:
            try:
                said = os.read(self._pipe, READ_BYTES)
            except BlockingIOError:
                return
            if not said:
                return
            self._last = (self._last + said)[-LINE_BYTES:]
            sys.stderr.buffer.write(said)
            sys.stderr.buffer.flush()


def launch(command: list[str], settings: str) -> Process:
    """`settings` (JSON) reach it by its environment."""
    return Child(command, settings)


def ending(code: int) -> str:
    """What an exit code says, for the log."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
