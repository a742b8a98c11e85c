"""The load: wrk with 32 connections that ask again as soon as they are answered."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
UNITS = 10_000
SCRIPT = Path(__file__).with_name("post.lua")
# 100 bytes, as small as a real prediction gets: what is measured is the way, not the payload.
BODY = '{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[0.125,17.5,-3.25,1000]}],"id":"0000"}'


@dataclass(frozen=True, slots=True)
class Driven:
    """What wrk saw. `failed` counts errors of sockets, timeouts, and answers other than 2xx and 3xx."""

    requests: int
    failed: int
    duration_s: float
    p50_us: float
    p99_us: float


def drive(
    port: int,
    path: str,
    *,
    seconds: float,
    core: int,
    body: str = BODY,
    connections: int = CONNECTIONS,
    units: int = UNITS,
    repeat: int = 1,
) -> Driven:
    """Load one port for whole seconds (wrk knows no others) with `body` repeated so often.

    Raises RuntimeError when wrk fails.
    """
    command = [
        *("taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"),
        *("--timeout", "5s", "-s", str(SCRIPT), f"http://127.0.0.1:{port}"),
        *("--", path, body, str(units), str(repeat)),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"wrk failed: {run.stderr or run.stdout}")
    return parse(run.stdout)


def parse(output: str) -> Driven:
    """The line of JSON that post.lua prints last."""
    line = next(line for line in reversed(output.splitlines()) if line.startswith("{"))
    said = json.loads(line)
    kinds = ("connect_errors", "read_errors", "write_errors", "status_errors", "timeouts")
    return Driven(
        requests=said["requests"],
        failed=sum(said[kind] for kind in kinds),
        duration_s=said["duration_us"] / 1e6,
        p50_us=said["p50_us"],
        p99_us=said["p99_us"],
    )
