"""What routing costs: CPU per request and latency of Turnout and other proxies, in one interleaved run.

Called by `scripts/bench`. Load generator, backend and Redis run on one core, the system under test on another
(on a machine with one core they share it, and the result says so). Prints a table and writes every single
round to `loadtests/results/`.
"""

import argparse
import contextlib
import sys
from dataclasses import replace
from pathlib import Path

from loadtests.environments import make_all
from loadtests.measure import CALM_WAIT_S, QUICK_PATIENCE_S, in_turn, report, say
from loadtests.proxies import PEERS, system
from loadtests.rounds import Measurement
from loadtests.started import StartFailed, cores, missing
from loadtests.systems import Scenario, backend, scratch

REFERENCE = "nginx"
ROUTING = ("nginx", "haproxy", "envoy", "traefik", "turnout")
SHADOWING = ("nginx", "envoy", "traefik", "turnout")
SCENARIOS = {
    "proxy": (
        Scenario("split", ROUTING),
        Scenario("split, foreign", ROUTING, is_foreign=True),
    ),
    "shadow": (Scenario("shadow 100 %", SHADOWING, has_shadow=True),),
}


def run(scenario: Scenario, *, rounds: int, seconds: float, patience_s: float) -> list[Measurement]:
    """Start the backend and every system, then measure them in turn."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(scratch()))
        behind = stack.enter_context(backend(directory, is_foreign=scenario.is_foreign))
        systems = [
            stack.enter_context(system(name, scenario, behind, directory / name)) for name in scenario.systems
        ]
        return in_turn(
            systems,
            scenario=scenario.name,
            handled=behind.handled,
            rounds=rounds,
            seconds=seconds,
            patience_s=patience_s,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__.split("\n\n", 1)[0] if __doc__ else ""
    )
    parser.add_argument(
        "sections", nargs="*", default=["proxy", "shadow"], help="proxy, shadow (default: both)"
    )
    parser.add_argument("--quick", action="store_true", help="three short rounds: a look, not a result")
    parser.add_argument("--rounds", type=int, default=None, help="rounds of each system (default 7, quick 3)")
    parser.add_argument("--seconds", type=float, default=None, help="of load in a round (default 4, quick 1)")
    parser.add_argument("--only", help="systems to measure besides nginx, separated by commas")
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 7)
    seconds = options.seconds or (1 if options.quick else 4)
    patience_s = QUICK_PATIENCE_S if options.quick else CALM_WAIT_S
    if unknown := [name for name in options.sections if name not in SCENARIOS]:
        parser.error(f"there is no section {unknown[0]}; there are {', '.join(SCENARIOS)}")
    if absent := missing(["nginx", "haproxy", "wrk", "taskset", "setpriv"]):
        say(f"Not installed: {', '.join(absent)}. On Debian: apt-get install nginx haproxy wrk util-linux")
        return 1
    if cores()[0] == cores()[1]:
        say("One core only: load generator and system share it, so latencies say little.")
    wanted = {REFERENCE, *options.only.split(",")} if options.only else set(ROUTING)
    if unknown := sorted(wanted - set(ROUTING)):
        parser.error(f"there is no system {unknown[0]}; there are {', '.join(ROUTING)}")
    environments = [peer.environment for name, peer in PEERS.items() if name in wanted and peer.environment]
    try:
        make_all(environments)
        for section in options.sections:
            measurements: list[Measurement] = []
            for scenario in SCENARIOS[section]:
                names = tuple(name for name in scenario.systems if name in wanted)
                chosen = replace(scenario, systems=names)
                say(f"{chosen.name}: {', '.join(names)}, {rounds} rounds of {seconds:g} s each")
                measurements += run(chosen, rounds=rounds, seconds=seconds, patience_s=patience_s)
            report(section, measurements, reference=REFERENCE, seconds=seconds, environments=environments)
    except StartFailed as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
