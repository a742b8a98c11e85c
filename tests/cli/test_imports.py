"""Commands start fast because they load little."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "fastapi", "starlette", "uvicorn", "numpy", "onnx", "onnxruntime", "nicegui", "matplotlib", "locust",
    "redis", "uvloop", "sklearn",
}  # fmt: skip
SCRIPT = """
import sys
from gateway.cli.main import main
for words in {lines!r}:
    main(words)
print(*sys.modules, sep="\\n", file=sys.stderr)
"""
NOBODY = ["--control-url", "http://127.0.0.1:1"]
ORDINARY = [
    ["status", *NOBODY],
    ["route", "split", "digits", "1=100", *NOBODY],
    ["rollout", "start", "--help"],
    ["model", "register", "--help"],
    ["top", "--once", *NOBODY],
    ["audit", *NOBODY],
    ["key", "list", *NOBODY],
    ["gateway", "--help"],
    ["control", "--help"],
    ["supervisor", "--help"],
    ["worker", "--help"],
    ["config", "--help"],
    ["completion", "bash"],
]


def loaded_by(lines: list[list[str]]) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(lines=lines)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    loaded = set(done.stderr.split())
    assert "gateway.cli.main" in loaded
    return loaded


def test_ordinary_commands_load_nothing_heavy() -> None:
    assert loaded_by(ORDINARY) & HEAVY == set()
