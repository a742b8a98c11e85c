"""Does an installation keep its promises under load? Real processes, real faults, numbers at the end.

Starts `turnout up --demo` in a temporary directory on free ports, sends predictions all the time, and changes
routes, cuts over, restarts workers and gateways, kills a worker and Redis, and stops Redis for a while.
Prints one line for each promise, writes them as JSON; exit code 1 when one is broken.

    python -m loadtests.promises            # about three minutes
    python -m loadtests.promises --quick    # a tenth of the requests, Redis hung for 5 s instead of 30 s
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx2
import uvloop

from loadtests.client import Load, quantile
from loadtests.measure import save

PATH = "/v2/models/digits/infer"
HELDOUT = Path(__file__).parents[1] / "config" / "demo" / "digits-heldout.json"


@dataclass(frozen=True, slots=True)
class Scale:
    requests: int = 50_000
    commits: int = 200
    hung_s: float = 30.0
    pause_s: float = 3.0


QUICK = Scale(requests=5_000, commits=40, hung_s=5.0, pause_s=2.0)


@dataclass(frozen=True, slots=True)
class Kept:
    """One promise and what was seen."""

    promise: str
    is_kept: bool
    seen: dict[str, Any]


class Installation:
    """A running `turnout up --demo`, its addresses, and an operator's hands."""

    def __init__(self, data_dir: Path, *, processes: int) -> None:
        self.data_dir = data_dir
        command = [sys.executable, "-m", "gateway.cli.main", "up", "--demo", "--no-traffic"]
        ports = ["--port", "0", "--control-port", "0", "--metrics-port", "0", "--processes", str(processes)]
        self.log = (data_dir / "up.out").open("w+")
        self.process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir), *ports], stdout=self.log, stderr=subprocess.STDOUT
        )
        self.port = self.metrics_port = 0
        self.control = httpx2.AsyncClient(trust_env=False, timeout=60)

    async def ready(self) -> None:
        """Wait for the addresses and for the first answer."""
        until = time.monotonic() + 120
        while time.monotonic() < until and self.process.poll() is None:
            said = (self.data_dir / "up.out").read_text()
            found = dict(re.findall(r"(gateway|control) +\d+ +http://127\.0\.0\.1:(\d+)", said))
            if "Ctrl-C ends" in said:
                self.port = int(found["gateway"])
                self.metrics_port = int(re.findall(r":(\d+)/metrics", said)[0])
                self.control.base_url = httpx2.URL(f"http://127.0.0.1:{found['control']}/api/v1")
                return
            await asyncio.sleep(0.2)
        raise SystemExit("turnout up did not become ready:\n" + (self.data_dir / "up.out").read_text())

    async def metrics(self) -> dict[str, float]:
        """Records written and dropped, over all gateway processes."""
        text = (await self.control.get(f"http://127.0.0.1:{self.metrics_port}/metrics")).text
        names = {"written": "turnout_records_written_total", "dropped": "turnout_recorder_dropped_total"}
        return {
            short: sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))
            for short, name in names.items()
        }

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        reply = await self.control.post(path, json=body, headers={"x-turnout-author": "promises"})
        if reply.status_code != 200:
            raise SystemExit(f"POST {path} answered {reply.status_code}: {reply.text}")
        found: dict[str, Any] = reply.json()
        return found

    async def edit(self, **edit: Any) -> dict[str, Any]:
        return await self.post("/routes/digits/edit", edit=edit, wait_s=10, force=True)

    async def split(self, **weights: float) -> dict[str, Any]:
        entries = [{"version": name.removeprefix("v"), "weight": weight} for name, weight in weights.items()]
        return await self.edit(kind="split", split=entries)

    async def scale(self, version: str, workers: int) -> None:
        path = f"/models/digits/versions/{version}/workers"
        reply = await self.control.put(path, json={"workers": workers})
        assert reply.status_code == 200, reply.text
        await self.has_ready(version, workers)

    async def workers(self, version: str) -> list[dict[str, Any]]:
        pools = (await self.control.get("/pools")).json()["pools"]
        pool = next(p for p in pools if p["model"] == "digits" and p["version"] == version)
        return [worker for worker in pool["workers"] if worker["state"] == "ready"]

    async def has_ready(self, version: str, count: int) -> list[dict[str, Any]]:
        until = time.monotonic() + 60
        while len(ready := await self.workers(version)) != count:
            assert time.monotonic() < until, f"version {version} has {len(ready)} ready workers, not {count}"
            await asyncio.sleep(0.1)
        return ready

    async def lost(self, pid: int, *, version: str = "1") -> None:
        """Wait until this worker takes no more requests."""
        while any(worker["pid"] == pid for worker in await self.workers(version)):
            await asyncio.sleep(0.05)

    def child(self, pattern: str) -> int:
        """The pid of the child whose command line matches."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid), "-f", pattern], capture_output=True)
        return int(found.stdout.split()[0])

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        self.log.close()


def bodies() -> list[bytes]:
    rows = json.loads(HELDOUT.read_text())["inputs"][:200]
    tensor = {"name": "X", "shape": [1, 64], "datatype": "FP32"}
    return [json.dumps({"inputs": [tensor | {"data": row}]}).encode() for row in rows]


async def commits_apply_fast(up: Installation, scale: Scale) -> Kept:
    times = []
    async with Load(up.port, PATH, bodies()) as seen:
        for number in range(scale.commits):
            weight = 1 + number % 50
            done = await up.split(v1=100 - weight, v2=weight)
            assert done["applied"]["complete"], done
            times.append(done["applied"]["ms"])
    times.sort()
    p99 = quantile(times, 0.99)
    return Kept(
        f"{scale.commits} commits under load are served by every gateway process within 50 ms at p99",
        p99 <= 50 and not seen.failures(),
        {"p50_ms": round(quantile(times, 0.5), 1), "p99_ms": round(p99, 1), "failed": dict(seen.failures())},
    )


async def planned_changes_lose_nothing(up: Installation, scale: Scale) -> Kept:
    """Cutover and back, rollback, splits, and a rolling restart at half of the capacity."""
    await up.scale("1", 2)
    await up.scale("2", 2)
    load = Load(up.port, PATH, bodies())
    counts = {"splits": 0, "cutovers": 0, "rollbacks": 0, "worker restarts": 0}
    async with load as seen:
        while len(seen.replies) < scale.requests:
            await up.split(v1=90, v2=10)
            counts["splits"] += 1
            await up.edit(kind="rollback")
            counts["rollbacks"] += 1
            await up.post("/models/digits/cutover", to="2", observe_s=0)
            await up.post("/models/digits/cutover", back=True, observe_s=0)
            counts["cutovers"] += 2
            await up.edit(kind="split", split=[{"version": "1", "weight": 100}])
            before = await up.has_ready("1", 2)
            os.kill(before[0]["pid"], signal.SIGTERM)
            await up.lost(before[0]["pid"])
            await up.has_ready("1", 2)
            counts["worker restarts"] += 1
    return Kept(
        f"{scale.requests} requests during cutovers, rollbacks, splits and worker restarts: none fails",
        not seen.failures(),
        {"requests": len(seen.replies), "failed": dict(seen.failures())} | counts,
    )


async def gateways_roll_without_loss(up: Installation, scale: Scale) -> Kept:
    parent = up.child(" gateway ")
    async with Load(up.port, PATH, bodies(), connections=8) as seen:
        await asyncio.sleep(0.5)
        before = {g["pid"] for g in (await up.control.get("/gateways")).json()["gateways"]}
        os.kill(parent, signal.SIGHUP)
        until = time.monotonic() + 60
        while before & {g["pid"] for g in (await up.control.get("/gateways")).json()["gateways"]}:
            assert time.monotonic() < until, "the gateway processes were not replaced"
            await asyncio.sleep(0.1)
    return Kept(
        "replacing every gateway process loses no request",
        not seen.failures(),
        {"requests": len(seen.replies), "failed": dict(seen.failures())},
    )


async def everything_may_be_restarted(up: Installation, scale: Scale) -> Kept:
    """Every worker and every gateway process, one after the other, at 70 % of what the installation can
    do."""
    await up.edit(kind="split", split=[{"version": "1", "weight": 50}, {"version": "2", "weight": 50}])
    await up.scale("1", 2)
    await up.scale("2", 2)
    async with Load(up.port, PATH, bodies(), connections=32) as seen:
        await asyncio.sleep(scale.pause_s)
    most = len(seen.replies) / scale.pause_s
    parent, rounds = up.child(" gateway "), 0
    load = Load(up.port, PATH, bodies(), connections=200, per_second=0.7 * most)
    async with load as seen:
        while len(seen.replies) < 2 * scale.requests:
            os.kill(parent, signal.SIGHUP)
            for version in ("1", "2"):
                for worker in await up.has_ready(version, 2):
                    os.kill(worker["pid"], signal.SIGTERM)
                    await up.lost(worker["pid"], version=version)
                    await up.has_ready(version, 2)
            rounds += 1
    return Kept(
        f"{2 * scale.requests} requests at 70 % of the capacity while every worker and gateway process is "
        "restarted: none fails",
        not seen.failures(),
        {
            "requests": len(seen.replies),
            "per_second": round(0.7 * most),
            "rounds": rounds,
            "failed": dict(seen.failures()),
        },
    )


async def everything_is_recorded(up: Installation, scale: Scale) -> Kept:
    """Every answered prediction lies in Redis, as long as Redis is up."""
    await asyncio.sleep(1)  # what was answered before is written
    before = await up.metrics()
    async with Load(up.port, PATH, bodies()) as seen:
        await asyncio.sleep(scale.pause_s)
    await asyncio.sleep(1)  # several times the interval in which records are written
    grown = {name: value - before[name] for name, value in (await up.metrics()).items()}
    answered = len(seen.replies) - sum(seen.failures().values())
    return Kept(
        "every answered prediction is recorded while Redis is up",
        grown == {"written": answered, "dropped": 0.0},
        {"answered": answered} | grown,
    )


async def a_worker_may_die(up: Installation, scale: Scale) -> Kept:
    await up.edit(kind="split", split=[{"version": "1", "weight": 100}])
    ready = await up.has_ready("1", 2)
    async with Load(up.port, PATH, bodies(), connections=20) as seen:
        await asyncio.sleep(1)
        os.kill(ready[0]["pid"], signal.SIGKILL)
        await asyncio.sleep(scale.pause_s)
    await up.has_ready("1", 2)
    return Kept(
        "kill -9 of one of two workers with 20 requests in flight: none fails",
        not seen.failures(),
        {"requests": len(seen.replies), "failed": dict(seen.failures())},
    )


async def _around_fault(
    up: Installation, pause_s: float, fault: Callable[[], Awaitable[None]]
) -> tuple[float, float, dict[str, Any]]:
    """p99 before and during a fault, in ms."""
    async with Load(up.port, PATH, bodies()) as seen:
        await asyncio.sleep(pause_s)
        began = time.perf_counter()
        await fault()
        ended = time.perf_counter()
        await asyncio.sleep(1)
    before = quantile(seen.latencies_ms(until=began), 0.99)
    during = quantile(seen.latencies_ms(since=began, until=ended), 0.99)
    numbers = {
        "p99_before_ms": round(before, 2),
        "p99_during_ms": round(during, 2),
        "ratio": round(during / before, 2),
        "requests": len(seen.replies),
        "failed": dict(seen.failures()),
    }
    return before, during, numbers


REDIS = "redis-server|valkey-server"


async def redis_may_be_killed(up: Installation, scale: Scale) -> Kept:
    async def fault() -> None:
        os.kill(up.child(REDIS), signal.SIGKILL)
        await asyncio.sleep(scale.pause_s)

    before, during, numbers = await _around_fault(up, scale.pause_s, fault)
    return Kept(
        "Redis killed (kill -9) and back: no prediction fails, p99 at most 1.5 times as before",
        not numbers["failed"] and during <= 1.5 * before,
        numbers,
    )


async def redis_may_hang(up: Installation, scale: Scale) -> Kept:
    async def fault() -> None:
        pid = up.child(REDIS)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(scale.hung_s)
        finally:
            os.kill(pid, signal.SIGCONT)

    before, during, numbers = await _around_fault(up, min(10.0, scale.hung_s), fault)
    return Kept(
        f"Redis hung (SIGSTOP) for {scale.hung_s:g} s: no prediction fails, p99 at most 1.5 times as before",
        not numbers["failed"] and during <= 1.5 * before,
        numbers,
    )


PROMISES = (
    commits_apply_fast,
    planned_changes_lose_nothing,
    gateways_roll_without_loss,
    everything_may_be_restarted,
    everything_is_recorded,
    a_worker_may_die,
    redis_may_be_killed,
    redis_may_hang,
)


async def check(scale: Scale, only: str) -> list[Kept]:
    found = []
    with tempfile.TemporaryDirectory(prefix="turnout-promises-") as folder:
        up = Installation(Path(folder), processes=2)
        try:
            await up.ready()
            await up.scale("1", 2)
            for promise in PROMISES:
                if only in promise.__name__:
                    kept = await promise(up, scale)
                    click.echo(f"{'kept  ' if kept.is_kept else 'BROKEN'}  {kept.promise}: {kept.seen}")
                    found.append(kept)
            await up.control.aclose()
        finally:
            up.end()
    return found


@click.command(help=__doc__)
@click.option("--quick", is_flag=True)
@click.option("--only", default="", help="Part of a promise's name.")
def main(quick: bool, only: str) -> None:
    names = [promise.__name__ for promise in PROMISES]
    if not any(only in name for name in names):
        raise click.UsageError(f"no promise has {only} in its name: {', '.join(names)}")
    found = uvloop.run(check(QUICK if quick else Scale(), only))
    told = [{"promise": kept.promise, "kept": kept.is_kept, "seen": kept.seen} for kept in found]
    save("promises", {"promises": told})
    sys.exit(0 if all(kept.is_kept for kept in found) else 1)


if __name__ == "__main__":
    main()
