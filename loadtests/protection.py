"""What overload, a slow worker and slow clients do to the others: a real gateway, models of known capacity.

The models (`loadtests.queueing`) need a fixed time for each request and no CPU, so that capacity does not
depend on the machine. Load is open-loop where the question is about latency. Prints a line for each promise,
writes JSON; exit code 1 when one is broken. Called by `scripts/bench protection`.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import uvloop

from gateway.contract import keys
from loadtests.client import Load, Seen, quantile
from loadtests.drive import BODY
from loadtests.installation import documents, gateway, lease, redis_with, renewed
from loadtests.measure import save
from loadtests.promises import Kept
from loadtests.started import cores, free_port, started, wait_for_port
from loadtests.systems import scratch

MODEL = "bench"
PATH = f"/v2/models/{MODEL}/infer"
RUN_MS = 2.0
SETTLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Served:
    """A gateway's port, and the ports of the workers of version 1."""

    port: int
    workers: list[int]


@contextlib.asynccontextmanager
async def served(workers: int, *, run_ms: float = RUN_MS) -> AsyncIterator[Served]:
    """A gateway with one version of one model, all requests to it."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(scratch()))
        ports = [free_port() for _ in range(workers)]
        log = directory / "model.log"
        command = [sys.executable, "-m", "loadtests.queueing", str(run_ms), *map(str, ports)]
        model = stack.enter_context(started(command, core=cores()[0], log=log))
        for port in ports:
            wait_for_port(port, pid=model, log=log)
        wanted = documents(MODEL, shadow=None)
        route = {"model": MODEL, "split": [{"version": "1", "weight": 100}]}
        wanted[keys.route_field(MODEL)] = route
        redis = await asyncio.to_thread(
            stack.enter_context, redis_with(wanted, directory / "redis", core=cores()[0])
        )
        stack.enter_context(renewed(redis.url, [lease(MODEL, "1", port) for port in ports]))
        found = gateway(directory, redis_url=redis.url, core=cores()[1])
        port, _ = await asyncio.to_thread(stack.enter_context, found)
        yield Served(port, ports)


async def load(port: int, seconds: float, **options: Any) -> tuple[Seen, float]:
    """What clients saw, and when the load ended."""
    async with Load(port, PATH, [BODY.encode()], **options) as seen:
        await asyncio.sleep(seconds)
        ended = time.perf_counter()
    return seen, ended


def rejected_ms(seen: Seen) -> list[float]:
    return sorted(took * 1e3 for _, took, status in seen.replies if status == 503)


def goodput(seen: Seen, *, until: float) -> int:
    """Answers that came before the load ended (what was still queued then does not count)."""
    return sum(status == 200 and ended <= until for ended, _, status in seen.replies)


async def overload_costs_no_goodput(seconds: float) -> Kept:
    """Three times what two workers can do, for requests that arrive whether or not others are answered."""
    async with served(2) as at:
        await load(at.port, SETTLE_S, connections=64)
        seen, ended = await load(at.port, seconds, connections=64)
        peak = goodput(seen, until=ended) / seconds
        flood, ended = await load(at.port, seconds, connections=2000, per_second=3 * peak)
    good = goodput(flood, until=ended) / seconds
    late = quantile(rejected_ms(flood), 0.99)
    other = {status: number for status, number in flood.failures().items() if status != 503}
    return Kept(
        "at three times the capacity: goodput above 90 % of the peak, rejections take 50 ms at most (p99)",
        good >= 0.9 * peak and late <= 50 and not other,
        {
            "peak_per_s": round(peak),
            "goodput_per_s": round(good),
            "ratio": round(good / peak, 2),
            "rejected": len(rejected_ms(flood)),
            "rejected_p99_ms": round(late, 1),
            "failed_otherwise": other,
        },
    )


async def set_run_ms(port: int, run_ms: float) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b"%g" % run_ms
    writer.write(b"POST /run HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def a_slow_worker_slows_few(seconds: float) -> Kept:
    """One of three workers becomes ten times slower under steady load."""
    per_second = 0.4 * 3 / RUN_MS * 1000
    options: dict[str, Any] = {"connections": 200, "per_second": per_second}
    async with served(3) as at:
        await load(at.port, SETTLE_S, **options)
        seen, _ = await load(at.port, seconds, **options)
        healthy = quantile(seen.latencies_ms(), 0.99)
        await set_run_ms(at.workers[0], 10 * RUN_MS)
        await load(at.port, SETTLE_S, **options)
        seen, _ = await load(at.port, seconds, **options)
    slow = quantile(seen.latencies_ms(), 0.99)
    share = sum(took > 10 * RUN_MS / 1000 for _, took, _ in seen.replies) / len(seen.replies)
    return Kept(
        "one of three workers ten times slower: p99 of the version at most twice as before",
        slow <= 2 * healthy and not seen.failures(),
        {
            "requests_per_s": round(per_second),
            "p99_healthy_ms": round(healthy, 2),
            "p99_ms": round(slow, 2),
            "ratio": round(slow / healthy, 2),
            "as_slow_as_the_slow_worker_percent": round(100 * share, 2),
            "failed": dict(seen.failures()),
        },
    )


async def slow_clients_harm_nobody(seconds: float) -> Kept:
    """A thousand connections that send nothing, half a head, or a body byte by byte."""
    options: dict[str, Any] = {"connections": 100, "per_second": 1000}
    async with served(4, run_ms=1.0) as at:
        await load(at.port, SETTLE_S, **options)
        seen, _ = await load(at.port, seconds, **options)
        before = quantile(seen.latencies_ms(), 0.99)
        async with Load(at.port, PATH, [BODY.encode()], **options) as seen:
            told = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "loadtests.dawdle", str(at.port), PATH),
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await told.communicate()
    ended = json.loads(output)
    during = quantile(seen.latencies_ms(), 0.99)
    return Kept(
        "a thousand slow clients: p99 of the others at most 1.5 times as before, each closed at its deadline",
        during <= 1.5 * before and not seen.failures() and ended["last_s"] < 20,
        {
            "p99_before_ms": round(before, 2),
            "p99_during_ms": round(during, 2),
            "ratio": round(during / before, 2),
            "ended_after_s": [round(ended["first_s"], 1), round(ended["last_s"], 1)],
            "requests": len(seen.replies),
            "failed": dict(seen.failures()),
        },
    )


PROMISES = (overload_costs_no_goodput, a_slow_worker_slows_few, slow_clients_harm_nobody)


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="3 s of load for each number instead of 10 s.")
@click.option("--only", default="", help="Part of a promise's name.")
def main(quick: bool, only: str) -> None:
    found = []
    for promise in PROMISES:
        if only in promise.__name__:
            kept = uvloop.run(promise(3.0 if quick else 10.0))
            click.echo(f"{'kept  ' if kept.is_kept else 'BROKEN'}  {kept.promise}: {kept.seen}")
            found.append(kept)
    told = [{"promise": kept.promise, "kept": kept.is_kept, "seen": kept.seen} for kept in found]
    save("protection", {"promises": told})
    sys.exit(0 if all(kept.is_kept for kept in found) else 1)


if __name__ == "__main__":
    main()
