"""Turnout running as a user would run it: `turnout up` on free ports, and a way to wait."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from gateway.cli.demo.traffic import request_body
from tests.control.world import PATIENT
from tests.sockets import PATIENCE_S

START_S = 240.0
END_S = 60.0
ROW = [0.0] * 64
ROOT = Path(__file__).resolve().parents[1]
FREE_PORTS = ("--port", "0", "--control-port", "0", "--metrics-port", "0")


class Up:
    """One `turnout up` on free ports; its output is in a file, and every process below it bears a mark."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.mark = f"TURNOUT-TEST={uuid.uuid4()}"
        name, _, value = self.mark.partition("=")
        self.output_path = Path(tempfile.mkstemp(prefix="turnout-up-", suffix=".txt")[1])
        ports = () if any("port" in option for option in options) else FREE_PORTS
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "gateway.cli.main",
                    "up",
                    "--data-dir",
                    str(data_dir),
                    *ports,
                    *options,
                ],
                stdout=output,
                stderr=output,
                env={**os.environ, **PATIENT, name: value},
                cwd=ROOT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    def until_up(self) -> "Up":
        until(lambda: "Turnout is up" in self.output or self.process.poll() is not None, START_S)
        assert self.process.poll() is None, self.output
        until(lambda: "Ctrl-C ends" in self.output)
        return self

    def address(self, name: str) -> str:
        found = re.search(rf"^  {name} +\d+ +(http://[^/\s]+)", self.output, re.MULTILINE)
        assert found is not None, self.output
        return found[1]

    def pid(self, name: str) -> int:
        """The newest process of this name that `up` told of."""
        found = re.findall(
            rf"^  {name} +(\d+) |^{name} runs again as process (\d+)", self.output, re.MULTILINE
        )
        return int(next(filter(None, found[-1])))

    def get(self, name: str, path: str) -> dict[str, Any]:
        """Asks again while Redis is away: a busy disk makes it slow for a moment."""
        end = time.monotonic() + PATIENCE_S
        while True:
            reply = httpx2.get(self.address(name) + path, trust_env=False, timeout=PATIENCE_S)
            if reply.status_code != 503 or time.monotonic() > end:
                break
            time.sleep(0.1)
        assert reply.status_code == 200, reply.text
        value = reply.json()
        assert isinstance(value, dict)
        return value

    def infer(self, path: str = "digits") -> httpx2.Response:
        return httpx2.post(
            f"{self.address('gateway')}/v2/models/{path}/infer",
            content=request_body(ROW),
            headers={"content-type": "application/json"},
            trust_env=False,
            timeout=PATIENCE_S,
        )

    def processes(self) -> set[int]:
        """Every living process that was started below this one, itself included."""
        return {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_ours(pid)}

    def _is_ours(self, pid: int) -> bool:
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            return status != "Z" and self.mark.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(END_S)

    def destroy(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.output_path.unlink()


def until(is_so: Callable[[], bool], limit_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < end, "it did not become so in time"
        time.sleep(0.05)
