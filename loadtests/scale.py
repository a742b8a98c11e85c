"""What 10,000 models with 5 versions each cost a gateway, beside one model in the same run.

Called by `scripts/bench scale`. Measures a decision and a commit in this process, the start and the memory of
real gateway processes, and a storm of commits against a real Redis. No model has a worker: what is asked for
is answered with 503, which costs a gateway all that a model costs it but the worker's reply.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from gateway.contract import keys
from gateway.contract.access import AccessSettings
from gateway.core.compile import EMPTY, compile_changes
from gateway.core.decide import decide
from gateway.dataplane.door import Door
from gateway.dataplane.follower import Follower, Identity
from gateway.dataplane.recorder import Recorder
from gateway.dataplane.table import Table
from gateway.dataplane.tally import Tallies
from gateway.store.connection import connect
from gateway.store.documents import Documents
from gateway.store.embedded import EmbeddedServer
from gateway.store.fleet import FleetStore
from gateway.store.watch import Watch
from gateway.upstream.pool import PoolSet
from loadtests.many import VERSIONS, documents, envelope, fill, name_of, path_of, route
from loadtests.measure import save, say
from loadtests.started import StartFailed, free_port, has_ended, started, tail
from loadtests.systems import scratch

HEADERS = {b"turnout-unit": b"unit-000001"}


class Served:
    """A table with so many models, each asked for once."""

    def __init__(self, models: int) -> None:
        self.models = models
        tallies = Tallies()
        self.table = Table(PoolSet(), Recorder("bench", tallies, bound=1000), tallies)
        self.revision = itertools.count(2)
        snapshot = EMPTY
        for number in range(models):
            changed = {field: envelope(field, 1, doc) for field, doc in documents(number)}
            snapshot = compile_changes(snapshot, revision=1, changed=changed)
        self.table.switch(snapshot)
        for number in range(models):
            assert self.table.find(path_of(number)) is not None

    def decision_us(self, paths: list[bytes]) -> float:
        """Look-up, decision and target of one request, on average over these."""
        find, draw = self.table.by_path.get, random.random
        begun = time.perf_counter()
        for path in paths:
            found = find(path)
            assert found is not None
            entry = found[0]
            header = entry.unit_header
            unit = None if header is None else HEADERS.get(header)
            if unit:  # as `dataplane.exchange` does it
                version = entry.remembered(unit)
            else:
                version, _ = decide(entry.compiled, HEADERS, draw())
            entry.targets.get(version)
        return (time.perf_counter() - begun) / len(paths) * 1e6

    def commit_us(self) -> float:
        """One route's change: compiled, switched to, and bound by its next request."""
        number = random.randrange(self.models)
        field = keys.route_field(name_of(number))
        revision = next(self.revision)
        changed = {field: envelope(field, revision, route(name_of(number), random.randrange(1, 99)))}
        begun = time.perf_counter()
        self.table.switch(compile_changes(self.table.snapshot, revision=revision, changed=changed))
        assert self.table.find(path_of(number)) is not None
        return (time.perf_counter() - begun) * 1e6


def decisions_and_commits(models: int, *, rounds: int, each: int = 20_000) -> list[dict[str, float]]:
    """One and many models in turn, round by round."""
    one, many = Served(1), Served(models)
    found = []
    for _ in range(rounds):
        anywhere = [path_of(random.randrange(models)) for _ in range(each)]
        same = [path_of(0) for _ in range(each)]
        one_us = one.decision_us(same)
        taken = {
            "decision_us_one_model": one_us,
            "decision_us_one_of_many": many.decision_us(same),
            "decision_us_any_of_many": many.decision_us(anywhere),
            "commit_us_one_model": statistics.median(one.commit_us() for _ in range(500)),
            "commit_us_many": statistics.median(many.commit_us() for _ in range(500)),
        }
        taken["decision_ratio_one_of_many"] = taken["decision_us_one_of_many"] / one_us
        taken["decision_ratio_any_of_many"] = taken["decision_us_any_of_many"] / one_us
        taken["commit_ratio"] = taken["commit_us_many"] / taken["commit_us_one_model"]
        found.append(taken)
    return found


@contextlib.contextmanager
def gateway(url: str, data_dir: Path, log: Path) -> Iterator[tuple[float, int, int]]:
    """A gateway with one process: seconds from its start to ready, its port, the process' id."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "gateway.cli.main", "gateway", "--processes", "1"),
        *("--port", str(port), "--metrics-port", str(free_port())),
        *("--redis-url", url, "--data-dir", str(data_dir)),
    ]
    begun = time.monotonic()
    with started(command, core=sorted(os.sched_getaffinity(0))[-1], log=log) as pid:
        while asyncio.run(_status(port, b"GET /v2/health/ready")) != 200:
            if has_ended(pid) or time.monotonic() - begun > 60:
                raise StartFailed(f"the gateway is not ready; {log.name} says:\n{tail(log)}")
            time.sleep(0.02)
        ready_s = time.monotonic() - begun
        child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        yield ready_s, port, child


async def _status(port: int, *first_lines: bytes) -> int:
    """The status of the last of these requests without a body, sent over one connection; 0 = no answer."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0
    status = 0
    for line in first_lines:
        writer.write(line + b" HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        status = int(lines[0].split(b" ")[1])
        length = next(line for line in lines if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
    writer.close()
    return status


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def start_and_memory(models: int, directory: Path) -> dict[str, float]:
    """Start a gateway on Redis, ask for every model, and start it again with Redis away."""
    directory.mkdir()
    data_dir, log = directory / "data", directory / "gateway.log"
    server = EmbeddedServer.start(directory / "redis")
    try:
        asyncio.run(fill(server.url, models))
        with gateway(server.url, data_dir, log) as (ready_s, port, pid):
            time.sleep(2.5)  # the last good file is written meanwhile
            idle_bytes = rss_bytes(pid)
            requests = [b"POST " + path_of(number) for number in range(models)]
            assert asyncio.run(_status(port, *requests)) == 503
            time.sleep(1)
            asked_bytes = rss_bytes(pid)
    finally:
        server.stop()
    with gateway(server.url, data_dir, log) as (ready_from_disk_s, port, _):
        assert asyncio.run(_status(port, b"POST " + path_of(models - 1))) == 503
    return {
        "ready_s": ready_s,
        "ready_from_disk_s": ready_from_disk_s,
        "rss_bytes": idle_bytes,
        "rss_bytes_all_asked": asked_bytes,
    }


async def storm(models: int, directory: Path, *, seconds: float, per_second: int = 1000) -> dict[str, float]:
    """Follow in this process while another commits; how far behind, how often, and how late the loop was."""
    server = EmbeddedServer.start(directory)
    client = connect(server.url, name="turnout-bench", timeout_s=5)
    try:
        await fill(server.url, models)
        tallies = Tallies()
        table = Table(PoolSet(), Recorder("bench", tallies, bound=1000), tallies)
        fleet = FleetStore(client)
        identity = Identity("bench", os.getpid(), "127.0.0.1:0", 0)
        follower = Follower(
            table,
            Documents(client),
            fleet,
            identity=identity,
            path=directory / "last-good.json",
            door=Door(AccessSettings()),
            rejected={},
        )
        await follower.follow()
        watch = Watch(server.url, follower.hint)
        tasks = [asyncio.create_task(work()) for work in (follower.run, watch.run, follower.keep_saving)]
        await asyncio.sleep(2)  # the first save
        before, rounds = table.snapshot.revision, follower.rounds
        command = [
            *(sys.executable, "-m", "loadtests.many", server.url, "--models", str(models)),
            *("--seconds", str(seconds), "--per-second", str(per_second)),
        ]
        lags_ms, begun = [], time.monotonic()
        thrower = await asyncio.create_subprocess_exec(*command)
        ending = asyncio.create_task(thrower.wait())
        while not ending.done():
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            lags_ms.append((time.perf_counter() - due) * 1e3)
        took_s = time.monotonic() - begun
        newest = (await Documents(client).page(2**53)).revision
        ended = time.perf_counter()
        while table.snapshot.revision < newest:
            await asyncio.sleep(0.001)
        caught_up_ms = (time.perf_counter() - ended) * 1e3
        commits, followed = newest - before, follower.rounds - rounds
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await follower.save_last()
    finally:
        await client.aclose()
        server.stop()
    return {
        "commits": commits,
        "commits_per_s": commits / took_s,
        "rounds": followed,
        "behind_ms": caught_up_ms,
        "loop_lag_ms_p99": statistics.quantiles(lags_ms, n=100)[98],
        "loop_lag_ms_worst": max(lags_ms),
    }


def measure(models: int, *, is_quick: bool) -> dict[str, Any]:
    """A summary, and the rounds of what was measured in this process."""
    with scratch() as directory:
        say(f"decisions and commits: 1 and {models:,} models")
        rounds = decisions_and_commits(models, rounds=3 if is_quick else 9)
        say(f"gateway processes: 1 and {models:,} models")
        one = start_and_memory(1, Path(directory) / "one")
        many = start_and_memory(models, Path(directory) / "many")
        for state in ("rss_bytes", "rss_bytes_all_asked"):
            many[f"{state}_a_model"] = (many[state] - one[state]) / (models - 1)
        say("a storm of commits")
        told = uvloop.run(storm(models, Path(directory) / "storm", seconds=2 if is_quick else 10))
    medians = {name: statistics.median(taken[name] for taken in rounds) for name in rounds[0]}
    summary = {"inside": medians, "process_one_model": one, "process_many_models": many, "storm": told}
    return {"summary": summary, "rounds": rounds}


def table_of(found: dict[str, dict[str, float]]) -> str:
    inside, one, many, told = found.values()

    def us(name: str, ratio: str) -> str:
        return f"{inside[name]:.2f} µs, {inside[ratio]:.2f} times one model's"

    rows = {
        "decision, one model": f"{inside['decision_us_one_model']:.2f} µs",
        "decision, one of many models": us("decision_us_one_of_many", "decision_ratio_one_of_many"),
        "decision, any of many models": us("decision_us_any_of_many", "decision_ratio_any_of_many"),
        "commit, one model": f"{inside['commit_us_one_model']:.2f} µs",
        "commit, many models": us("commit_us_many", "commit_ratio"),
        "start to ready, Redis there": f"{many['ready_s']:.2f} s (one model: {one['ready_s']:.2f} s)",
        "start to ready, Redis away": f"{many['ready_from_disk_s']:.2f} s",
        "memory a model": f"{many['rss_bytes_a_model'] / 1024:.2f} KiB",
        "memory a model, each asked for": f"{many['rss_bytes_all_asked_a_model'] / 1024:.2f} KiB",
        "storm": f"{told['commits']:.0f} commits, {told['commits_per_s']:.0f}/s",
        "- rounds of following": f"{told['rounds']:.0f}",
        "- newest served after": f"{told['behind_ms']:.0f} ms",
        "- loop late, p99": f"{told['loop_lag_ms_p99']:.1f} ms",
        "- loop late, worst": f"{told['loop_lag_ms_worst']:.1f} ms",
    }
    return "\n".join(f"{label:32}{value}" for label, value in rows.items())


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench scale", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, a shorter storm")
    parser.add_argument("--models", type=int, default=10_000)
    options = parser.parse_args()
    try:
        found = measure(options.models, is_quick=options.quick)
    except StartFailed as error:
        say(str(error))
        return 1
    print(table_of(found["summary"]))
    setting = {"models": options.models, "versions": len(VERSIONS), "load_average": os.getloadavg()}
    save("scale", {"setting": setting, **found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
