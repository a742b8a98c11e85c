"""A child process that ends when its parent does, however the parent ended (Linux, prctl(2)).

Called by every Python process that Turnout starts, first thing; `PARENT` in its environment names the parent.
"""

import ctypes
import os
import signal
import sys

PARENT = "TURNOUT_PARENT_PID"
SETTINGS = (
    "_TURNOUT_SETTINGS"  # a parent's settings as JSON; not an argument, since `ps` shows passwords in it
)
_PR_SET_PDEATHSIG = 1


def child_environment(settings: str = "") -> dict[str, str]:
    """The environment for a child of this process; `settings` (JSON) are for it alone."""
    return os.environ | {PARENT: str(os.getpid())} | ({SETTINGS: settings} if settings else {})


def hold() -> None:
    """Ask the kernel for SIGTERM at the parent's death; exit if it has died already."""
    parent = os.environ.pop(PARENT, "")
    if not parent.isdigit() or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit(0)
