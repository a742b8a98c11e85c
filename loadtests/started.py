"""Child processes of a benchmark: pinned to a core, with their output in a file, ended with the benchmark."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ENDS_WITHIN_S = 10.0
STARTS_WITHIN_S = 30.0


class StartFailed(Exception):
    """A process did not come up; the message holds the end of what it said."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def cores() -> tuple[int, int]:
    """The core for load and backend, and the one for the system under test; the same if there is one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


@contextlib.contextmanager
def started(
    command: Sequence[str], *, core: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run a command on one core until the block ends; gives its pid. It also ends if we are killed.

    With the block ends what the command has started in its turn, also where it forgot that.
    """
    pinned = ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", str(core), *command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with contextlib.suppress(ProcessLookupError):  # nobody is left, as it should be
            os.killpg(process.pid, signal.SIGKILL)


def wait_for_port(port: int, *, pid: int, log: Path) -> None:
    """Return when somebody listens; raises StartFailed when the process ends or takes too long."""
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until:
        if has_ended(pid):
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise StartFailed(f"nothing listens on port {port}; {log.name} says:\n{tail(log)}")


def has_ended(pid: int) -> bool:
    """True for a process that is gone, or that only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def missing(programs: Sequence[str]) -> list[str]:
    """The programs that are not installed (Debian keeps some in sbin, which a user's PATH may lack)."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    return [program for program in programs if shutil.which(program) is None]
