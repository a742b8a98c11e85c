"""How long `turnout` takes to start: `python -m loadtests.cli_start` prints a table, one line a command.

No control process is needed: commands that ask one are pointed at a port where nobody listens, so that what
is measured is everything up to the question. The best of several rounds counts, as the machine's other work
only adds; CPU beside it is what the command itself cost.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.sockets import free_port

ROUNDS = 5
HELP_MS, START_MS = 300, 400  # what was promised
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("--help",), ("--version",), ("route", "--help"), ("up", "--help"), ("gateway", "--help"),
    ("worker", "--help"),
    ("completion", "bash"), ("config", "show"), ("status",), ("route", "list"),
    ("route", "split", "digits", "1=100"), ("compare", "digits"), ("rollout", "status"), ("model", "list"),
    ("explain", "--model", "digits"), ("audit",), ("key", "list"), ("top", "--once", "--json"), ("doctor",),
)  # fmt: skip


COMPLETED = "turnout route split "  # what Tab asks; with nobody to tell names


def once(words: Sequence[str], url: str, **more: str) -> tuple[float, float]:
    """Wall and CPU time of one run, in ms."""
    environment = {**os.environ, "TURNOUT_CONTROL_URL": url, **more}
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", "import sys; from gateway.cli.main import main; sys.exit(main())", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )
    wall_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s * 1000, cpu_s * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    url = f"http://127.0.0.1:{free_port()}"
    print(f"{'command':<36}{'wall ms':>9}{'CPU ms':>9}")
    slow = 0
    tab = {"_TURNOUT_COMPLETE": "bash_complete", "COMP_WORDS": COMPLETED, "COMP_CWORD": "3"}
    for words, more in [*((words, {}) for words in COMMANDS), (("Tab after", COMPLETED.strip()), tab)]:
        runs = [once(words, url, **more) for _ in range(rounds)]
        wall_ms, cpu_ms = min(run[0] for run in runs), min(run[1] for run in runs)
        is_slow = wall_ms > (HELP_MS if words == ("--help",) else START_MS)
        slow += is_slow
        print(f"{' '.join(words):<36}{wall_ms:>9.0f}{cpu_ms:>9.0f}{'  slow' if is_slow else ''}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
