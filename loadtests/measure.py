"""One system in one round: load it, and count what that cost it. Rounds in turn, and a report of all.

Called by `bench` and `serving`, which start the systems. Pure arithmetic is in `rounds`.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtests.cpu import CpuTime, busy_time, tree_time
from loadtests.drive import CONNECTIONS, UNITS, drive
from loadtests.effort import Effort
from loadtests.environments import Environment
from loadtests.machine import describe
from loadtests.rounds import Measurement, summarise, table
from loadtests.started import cores
from loadtests.systems import System

RESULTS = Path(__file__).with_name("results")
CALM_CORES = 0.2  # other work on the machine below this is no disturbance
CALM_SAMPLE_S = 0.3
SETTLE_S = 0.3  # what a system still has to write after the last reply belongs to the requests


def in_turn(
    systems: Sequence[System], effort: Effort, *, scenario: str, handled: Callable[[], int] = lambda: 0
) -> list[Measurement]:
    """Warm every system up, then measure A B C A B C ...; `handled` counts requests at the backend."""
    for system in systems:
        drive(system.port, system.path, seconds=1, core=cores()[0], body=system.body)
    found = []
    for number in range(1, effort.rounds + 1):
        for system in systems:
            _wait_for_calm(effort.patience_s)
            found.append(_measure(system, scenario, number, seconds=effort.seconds, handled=handled))
            say(
                f"  {scenario} {number}/{effort.rounds} {system.name}: {found[-1].cpu_us:.1f} µs/request, "
                f"{found[-1].per_second:,.0f} requests/s"
            )
    return found


def _measure(
    system: System, scenario: str, number: int, *, seconds: float, handled: Callable[[], int]
) -> Measurement:
    started, arrived = time.monotonic(), handled()
    before, redis, everything = times(system), _redis_time(system), busy_time() - _own_time()
    driven = drive(system.port, system.path, seconds=seconds, core=cores()[0], body=system.body)
    time.sleep(SETTLE_S)
    after, spent_by_redis = times(system), _redis_time(system) - redis
    parts = {name: after[name] - before[name] for name in before}
    spent = sum(parts.values(), CpuTime())
    elsewhere = busy_time() - _own_time() - everything
    answered = max(1, driven.requests - driven.failed)
    per_request = 1e6 / answered
    return Measurement(
        scenario=scenario,
        system=system.name,
        round=number,
        requests=driven.requests,
        failed=driven.failed,
        per_second=answered / driven.duration_s,
        p50_us=driven.p50_us,
        p99_us=driven.p99_us,
        cpu_us=spent.total_s * per_request,
        user_us=spent.user_s * per_request,
        system_us=spent.system_s * per_request,
        parts_us={name: part.total_s * per_request for name, part in parts.items()},
        upstream_requests=(handled() - arrived) / answered,
        redis_us=spent_by_redis.total_s * per_request,
        elsewhere_cores=max(0.0, elsewhere / (time.monotonic() - started)),
    )


def _wait_for_calm(patience_s: float) -> None:
    """Return once nothing else works on this machine, or after a while."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        started, before = time.monotonic(), busy_time() - _own_time()
        time.sleep(CALM_SAMPLE_S)
        if busy_time() - _own_time() - before < CALM_CORES * (time.monotonic() - started):
            return


def _own_time() -> float:
    """CPU of this benchmark: itself, what it runs, and what it ran (wrk)."""
    return tree_time(os.getpid()).total_s


def times(system: System) -> dict[str, CpuTime]:
    """CPU time of each of its process trees, Redis apart."""
    return {name: tree_time(pid) for name, pid in system.pids.items()}


def _redis_time(system: System) -> CpuTime:
    return CpuTime() if system.redis_pid is None else tree_time(system.redis_pid)


def report(
    section: str,
    measurements: list[Measurement],
    effort: Effort,
    *,
    reference: str,
    environments: Iterable[Environment] = (),
) -> Path:
    """Print the table; write every round as JSON and say where. `environments` are the peers'."""
    summaries = summarise(measurements, reference=reference)
    print(table(summaries, reference=reference))
    if any(summary.elsewhere_cores > CALM_CORES for summary in summaries):
        say("Other work disturbed this (see `elsewhere`): measure again on a calm machine.")
    load, tested = cores()
    document = {
        "setting": {
            "connections": CONNECTIONS,
            "units": UNITS,
            **asdict(effort),
            "core_of_load": load,
            "core_under_test": tested,
            "load_average": os.getloadavg(),
        },
        "peers": {environment.name: environment.versions() for environment in environments},
        "reference": reference,
        "summary": [asdict(summary) for summary in summaries],
        "rounds": [asdict(measurement) for measurement in measurements],
    }
    return save(section, document)


def save(section: str, document: dict[str, Any]) -> Path:
    """Write what was measured, with the machine and the commit, and say where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{section}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.local.json"
    told = {"section": section, "machine": describe(), **document}
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    say(f"Every number is in {path}")
    return path


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
