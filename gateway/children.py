"""The child processes of `turnout up`: start, watch, start again after a crash, end in order.

Each child has a log file, its own session (a terminal's Ctrl-C reaches the parent only, which then ends the
children in the right order), and dies when its parent does (`contract.lifeline`). Everything here is
synchronous and must be called from the main thread: Linux ties a child's fate to the thread that forked it.
What the children are is not known here: `gateway.app` says that.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from gateway.contract.errors import TurnoutError
from gateway.contract.lifeline import child_environment

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
CALM_S = 30.0  # a process that lived this long has not crashed at start: the pauses begin anew
TAIL_LINES = 8
TAIL_BYTES = 16 * 1024
PACKAGE_ROOT = Path(__file__).resolve().parents[1]
Say = Callable[[str], None]


class Running(Protocol):
    """What `Kept` needs of a process."""

    @property
    def pid(self) -> int: ...
    def is_alive(self) -> bool: ...
    def stop(self) -> None: ...


R = TypeVar("R", bound=Running)


@dataclass(frozen=True, slots=True)
class Program:
    """One `turnout` subcommand; `stop_s` is how long it may take to end in good order."""

    name: str
    arguments: tuple[str, ...]
    log_dir: Path
    stop_s: float

    @property
    def log_path(self) -> Path:
        return self.log_dir / f"{self.name}.log"

    def start(self) -> "Child":
        return Child(self)


class Child:
    """A running program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        with program.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli.main", *program.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def how_it_ended(self) -> str:
        code = self._process.poll()
        if code is None:
            return "runs"
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    def stop(self) -> None:
        """Asks it to end, waits, and insists after `stop_s`."""
        if self.is_alive():
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(self.program.stop_s)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process.wait()

    def kill(self) -> None:
        self._process.kill()


class Kept(Generic[R]):
    """A process that is started again, after a growing pause, whenever it ends by itself."""

    def __init__(self, name: str, start: Callable[[], R]) -> None:
        self.name = name
        self.restarts = 0
        self._start = start
        self._pause_s = FIRST_PAUSE_S
        self._next_start_s: float | None = None
        self.running = start()
        self._started_s = time.monotonic()

    def tend(self, say: Say) -> None:
        """Notices an end, and starts again when its pause is over; says so in one line each."""
        now_s = time.monotonic()
        if self._next_start_s is not None:
            if now_s >= self._next_start_s:
                self._start_again(say)
        elif not self.running.is_alive():
            if now_s - self._started_s > CALM_S:
                self._pause_s = FIRST_PAUSE_S
            say(f"{self.name} (process {self.running.pid}) ended{_why(self.running)}; it is started again")
            self._plan(now_s)

    def stop(self) -> None:
        self.running.stop()

    def _start_again(self, say: Say) -> None:
        self._next_start_s = None
        self._started_s = time.monotonic()
        try:
            self.running = self._start()
        except (TurnoutError, OSError) as error:
            say(f"{self.name} cannot be started: {error}")
            self._plan(self._started_s)
            return
        self.restarts += 1
        say(f"{self.name} runs again as process {self.running.pid}")

    def _plan(self, now_s: float) -> None:
        self._next_start_s = now_s + self._pause_s
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)


def environment() -> dict[str, str]:
    """For a child: it finds this very package, whatever directory it is started in."""
    path = os.pathsep.join(filter(None, (str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", ""))))
    return child_environment() | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def rotate(log_dir: Path, names: Sequence[str]) -> None:
    """Keeps each log of the last time as `<name>.log.1`."""
    log_dir.mkdir(parents=True, exist_ok=True)
    for name in names:
        log = log_dir / f"{name}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))


def tail(log_path: Path) -> list[str]:
    """The last lines of a log."""
    with log_path.open("rb") as log:
        log.seek(max(0, log_path.stat().st_size - TAIL_BYTES))
        return log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]


def _why(running: Running) -> str:
    if not isinstance(running, Child):
        return ""
    last = next((line for line in reversed(tail(running.program.log_path)) if line.strip()), "")
    return f" ({running.how_it_ended()}{f': {last.strip()[:200]}' if last else ''})"
