"""Workers as child processes of the supervisor.

A child asks the kernel for SIGTERM at its parent's death (`contract.lifeline`), so that a supervisor that was
killed leaves nobody behind. It is in a process group of its own: Ctrl-C on a terminal reaches the supervisor
alone, which then drains its workers. Called by `workers.supervisor`.
"""

import signal
import subprocess
from collections.abc import Callable
from typing import Protocol

from gateway.contract.lifeline import child_environment


class Process(Protocol):
    """A started worker; `poll` gives the exit code once it has ended (negative: the signal)."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


Launch = Callable[
    [list[str], str], Process
]  # command and settings; raises OSError when the process cannot be started


def launch(command: list[str], settings: str) -> Process:
    """Its output goes where the supervisor's own goes; `settings` (JSON) reach it by its environment."""
    environment = child_environment(settings)
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, process_group=0)


def ending(code: int) -> str:
    """What an exit code says, for the log."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
