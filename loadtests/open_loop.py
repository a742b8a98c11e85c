"""How honest is the driver of `turnout loadtest`: does an open loop send what it says, when it says so?

A gateway with a static backend is loaded at several rates, gateway and driver on a core each. What counts is
the rate that was sent beside the one asked for, how late requests left, and what the driver costs. Called by
`scripts/bench driver`; needs the extra `loadtest`.
"""

import argparse
import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway.cli.loadtest.run import drive
from gateway.loadtest.results import result
from gateway.loadtest.scenario import Input, Run, Scenario
from loadtests.drive import BODY
from loadtests.measure import save, say
from loadtests.proxies import system
from loadtests.started import cores
from loadtests.systems import MODEL, backend, scratch
from loadtests.systems import Scenario as Setting

RATES = (100, 500, 1000, 2000)
AT, WITHIN = 500, 0.01  # what is promised: at this rate, no more than one percent off


@dataclass(frozen=True, slots=True)
class Kept:
    """One rate. `rate_off`: sent ÷ asked for - 1; `lag`: from when a request was due to when it left."""

    rate: int
    processes: int
    rate_off: float
    lag_p50_ms: float
    lag_p99_ms: float
    cpu_us: float
    cpu_share_most: float
    failed: int
    p50_ms: float
    p99_ms: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="short runs: a look, not a result")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each rate (default 20)")
    options = parser.parse_args()
    seconds = 3.0 if options.quick else options.seconds
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(scratch()))
        behind = stack.enter_context(backend(directory, is_foreign=False))
        setting = Setting("split", ("turnout",))
        running = stack.enter_context(system("turnout", setting, behind, directory / "turnout"))
        stack.enter_context(on_core(cores()[0]))
        found = [measure(running.port, rate, seconds) for rate in RATES]
    print(table(found))
    save("driver", {"setting": {"seconds": seconds}, "rounds": [asdict(each) for each in found]})
    promised = next(each for each in found if each.rate == AT)
    is_kept = abs(promised.rate_off) <= WITHIN
    verdict = "kept" if is_kept else "BROKEN"
    say(f"{verdict}: at {AT} requests a second the rate is at most {WITHIN:.0%} off")
    return 0 if is_kept else 1


def measure(port: int, rate: int, seconds: float) -> Kept:
    phases = [{"for_s": seconds, "at": rate}]
    run = Run(
        scenario=Scenario.model_validate({"phases": phases, "label_delay_s": None}),
        url=f"http://127.0.0.1:{port}",
        model=MODEL,
        version=None,
        key=None,
        inputs=(Input(body=BODY),),
    )
    driven = drive(run, listen=None, say=say, progress=lambda progress: None)
    found: dict[str, Any] = result(run, driven.tally, at_ms=0, interrupted=False, problems=driven.problems)
    driver, latency = found["driver"], found["latency_ms"] or {}
    return Kept(
        rate=rate,
        processes=run.processes,
        rate_off=driver["rate_off"],
        lag_p50_ms=driver["lag_ms"]["p50"],
        lag_p99_ms=driver["lag_ms"]["p99"],
        cpu_us=driver["cpu_us_per_request"],
        cpu_share_most=driver["cpu_share_most"],
        failed=found["requests"]["failed"],
        p50_ms=latency.get("p50", 0.0),
        p99_ms=latency.get("p99", 0.0),
    )


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """This process, and what it starts, on one core until the block ends."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def table(found: list[Kept]) -> str:
    lines = [
        f"{'asked/s':>8} {'off':>8} {'lag p50 ms':>11} {'lag p99 ms':>11} {'driver CPU µs':>14} "
        f"{'of a core':>10} {'failed':>7} {'p50 ms':>7} {'p99 ms':>7}"
    ]
    lines += [
        f"{each.rate:>8} {each.rate_off:>8.2%} {each.lag_p50_ms:>11.2f} {each.lag_p99_ms:>11.2f} "
        f"{each.cpu_us:>14.0f} {each.cpu_share_most:>10.0%} {each.failed:>7} {each.p50_ms:>7.2f} "
        f"{each.p99_ms:>7.2f}"
        for each in found
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
