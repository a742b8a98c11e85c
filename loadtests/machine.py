"""What a measurement was made on: without it, numbers of two days cannot be laid side by side."""

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("turnout", "uvicorn", "uvloop", "httptools", "orjson", "redis", "onnxruntime", "numpy")


def describe() -> dict[str, Any]:
    """Machine, commit and versions as plain values."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _said(["git", "-C", str(ROOT), "rev-parse", "HEAD"]),
        "has_local_changes": bool(_said(["git", "-C", str(ROOT), "status", "--porcelain", "-uno"])),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "sharing_a_core": _siblings(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: _package(name) for name in PACKAGES},
        "programs": {
            "nginx": _number(_said(["nginx", "-v"])),
            "haproxy": _number(_said(["haproxy", "-v"])),
            "wrk": _number(_said(["wrk", "-v"])),
        },
    }


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.processor()


def _siblings() -> str | None:
    """CPUs that are threads of the first one's core: load on one slows the others."""
    path = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    return path.read_text().strip() if path.exists() else None


def _package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _said(command: Sequence[str]) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return (run.stdout + run.stderr).strip()


def _number(text: str) -> str | None:
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else None
