"""What a worker says reaches its supervisor, and never holds the worker up."""

import sys

import pytest

from tests.sockets import eventually
from workers.launchers.process import launch


async def test_the_last_line_is_known_after_the_end_and_all_is_passed_on(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    words = "import sys; print('first'); print('no such file', file=sys.stderr); print(); sys.exit(3)"
    process = launch([sys.executable, "-uc", words], "")
    await eventually(lambda: process.poll() == 3)
    assert process.last_words() == "no such file"
    assert process.poll() == 3
    assert capfdbinary.readouterr().err == b"first\nno such file\n\n"


async def test_a_worker_is_not_held_up_by_a_supervisor_that_does_not_listen() -> None:
    much = "import logging; logging.raiseExceptions = False\nfor _ in range(3000): logging.warning('x' * 100)"
    process = launch([sys.executable, "-c", much], "")
    # Nobody reads: the kernel's pipe holds 64 KiB, and the worker ends all the same.
    await eventually(lambda: _has_ended(process.pid), within_s=20)
    process.poll()


def _has_ended(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(") ")[2][0] == "Z"
