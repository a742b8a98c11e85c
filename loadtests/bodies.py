"""What large bodies cost: throughput, CPU per MiB and memory of nginx and Turnout, in one interleaved run.

Called by `scripts/bench bodies`. Both keep whole bodies in memory and send them on; nginx is told so. Memory
is the most that a system held at any time of its rounds, above what it held before the first.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from loadtests.cpu import PROC, CpuTime, descendants, tree_time
from loadtests.drive import drive
from loadtests.measure import save, say
from loadtests.proxies import system
from loadtests.started import StartFailed, cores, missing
from loadtests.systems import Scenario, System, backend, scratch

MIB = 1024 * 1024
NAMES = ("nginx", "turnout")
PIECE = "0123456789abcdef" * 64  # 1 KiB: wrk repeats it
UNITS = 4  # wrk keeps a request of each in memory


@dataclass(frozen=True, slots=True)
class Load:
    """Bodies of `request_kib` (0: small) and replies of `reply_mib` (0: small) over so many connections."""

    name: str
    connections: int
    request_kib: int = 0
    reply_mib: int = 0

    @property
    def mib(self) -> float:
        return self.request_kib / 1024 + self.reply_mib


LOADS = (
    Load("request 1 MiB", connections=64, request_kib=1024),
    Load("request 16 MiB", connections=8, request_kib=16 * 1024),
    Load("reply 1 MiB", connections=64, reply_mib=1),
)


@dataclass(frozen=True, slots=True)
class Round:
    scenario: str
    system: str
    round: int
    requests: int
    failed: int
    mib_per_s: float
    cpu_ms_per_mib: float
    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class Line:
    """Medians over the rounds; `ratio` of throughput to nginx's, formed within each round."""

    scenario: str
    system: str
    mib_per_s: float
    ratio: float
    cpu_ms_per_mib: float
    p99_ms: float
    rss_growth_mib: float
    failed: int


def spent_by(system: System) -> CpuTime:
    return sum((tree_time(pid) for pid in system.pids.values()), CpuTime())


def memory(system: System, field: str) -> float:
    """MiB of a system's processes: `VmRSS` now, or `VmHWM`, the most at any time."""
    total = 0
    for each in (child for pid in system.pids.values() for child in descendants(pid)):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = (PROC / str(each) / "status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    return total / 1024


def measure(system: System, load: Load, number: int, *, seconds: float) -> Round:
    before = spent_by(system)
    driven = drive(
        system.port,
        system.path,
        seconds=seconds,
        core=cores()[0],
        body=PIECE if load.request_kib else system.body,
        connections=load.connections,
        units=UNITS,
        repeat=load.request_kib or 1,
    )
    spent = spent_by(system) - before
    mib = max(1, driven.requests - driven.failed) * load.mib
    found = Round(
        scenario=load.name,
        system=system.name,
        round=number,
        requests=driven.requests,
        failed=driven.failed,
        mib_per_s=mib / driven.duration_s,
        cpu_ms_per_mib=spent.total_s * 1e3 / mib,
        p50_us=driven.p50_us,
        p99_us=driven.p99_us,
    )
    told = f"{found.mib_per_s:,.0f} MiB/s, {found.cpu_ms_per_mib:.2f} ms/MiB"
    say(f"  {load.name} {number} {system.name}: {told}")
    return found


def run(load: Load, *, rounds: int, seconds: float) -> Iterator[tuple[Line, list[Round]]]:
    """Start backend and systems afresh, measure in turn; a line and its rounds for each system."""
    scenario = Scenario(load.name, NAMES, has_large_bodies=True, reply_bytes=load.reply_mib * MIB)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(scratch()))
        behind = stack.enter_context(backend(directory, is_foreign=False, reply_bytes=scenario.reply_bytes))
        systems = [stack.enter_context(system(name, scenario, behind, directory / name)) for name in NAMES]
        at_rest = [memory(each, "VmRSS") for each in systems]
        found = [
            measure(each, load, number, seconds=seconds)
            for number in range(1, rounds + 1)
            for each in systems
        ]
        most = [memory(each, "VmHWM") for each in systems]
    of_nginx = [each.mib_per_s for each in found if each.system == NAMES[0]]
    for name, rest, top in zip(NAMES, at_rest, most, strict=True):
        own = [each for each in found if each.system == name]
        yield (
            Line(
                scenario=load.name,
                system=name,
                mib_per_s=median(each.mib_per_s for each in own),
                ratio=median(each.mib_per_s / other for each, other in zip(own, of_nginx, strict=True)),
                cpu_ms_per_mib=median(each.cpu_ms_per_mib for each in own),
                p99_ms=median(each.p99_us for each in own) / 1e3,
                rss_growth_mib=top - rest,
                failed=sum(each.failed for each in own),
            ),
            own,
        )


def table(lines: list[Line]) -> str:
    """For people."""
    rows = [
        f"{'scenario':<15} {'system':<8} {'MiB/s':>8} {'× nginx':>8} {'CPU ms/MiB':>11} {'p99 ms':>8} "
        f"{'RSS growth MiB':>15}"
    ]
    rows += [
        f"{line.scenario:<15} {line.system:<8} {line.mib_per_s:>8,.0f} {line.ratio:>8.2f} "
        f"{line.cpu_ms_per_mib:>11.3f} {line.p99_ms:>8.1f} {line.rss_growth_mib:>15.0f}"
        + (f"  {line.failed} FAILED" if line.failed else "")
        for line in lines
    ]
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench bodies", description=__doc__.split("\n\n", 1)[0] if __doc__ else ""
    )
    parser.add_argument("--quick", action="store_true", help="two short rounds: a look, not a result")
    options = parser.parse_args()
    rounds, seconds = (2, 2.0) if options.quick else (5, 4.0)
    if absent := missing(["nginx", "wrk", "taskset", "setpriv"]):
        say(f"Not installed: {', '.join(absent)}. On Debian: apt-get install nginx wrk util-linux")
        return 1
    lines: list[Line] = []
    every: list[Round] = []
    try:
        for load in LOADS:
            for line, own in run(load, rounds=rounds, seconds=seconds):
                lines.append(line)
                every += own
    except StartFailed as error:
        say(str(error))
        return 1
    print(table(lines))
    document = {
        "setting": {"seconds": seconds, "loads": [asdict(load) for load in LOADS]},
        "summary": [asdict(line) for line in lines],
        "rounds": [asdict(found) for found in every],
    }
    save("bodies", document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
