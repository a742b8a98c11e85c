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

from loadtests.effort import Effort, add_options, chosen, effort
from loadtests.environments import make_all
from loadtests.measure import in_turn, report, say
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


def run(scenario: Scenario, effort: Effort) -> list[Measurement]:
    """Start the backend and every system, then measure them in turn."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(scratch()))
        behind = stack.enter_context(backend(directory, is_foreign=scenario.is_foreign))
        systems = [
            stack.enter_context(system(name, scenario, behind, directory / name)) for name in scenario.systems
        ]
        return in_turn(systems, effort, scenario=scenario.name, handled=behind.handled)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__.split("\n\n", 1)[0] if __doc__ else ""
    )
    parser.add_argument(
        "sections", nargs="*", default=["proxy", "shadow"], help="proxy, shadow (default: both)"
    )
    add_options(parser, always=REFERENCE)
    options = parser.parse_args()
    how_long, wanted = effort(options), chosen(parser, options.only, ROUTING, always=REFERENCE)
    if unknown := [name for name in options.sections if name not in SCENARIOS]:
        parser.error(f"there is no section {unknown[0]}; there are {', '.join(SCENARIOS)}")
    if absent := missing(["nginx", "haproxy", "wrk", "taskset", "setpriv"]):
        say(f"Not installed: {', '.join(absent)}. On Debian: apt-get install nginx haproxy wrk util-linux")
        return 1
    if cores()[0] == cores()[1]:
        say("One core only: load generator and system share it, so latencies say little.")
    environments = [peer.environment for name, peer in PEERS.items() if name in wanted and peer.environment]
    try:
        make_all(environments)
        for section in options.sections:
            measurements: list[Measurement] = []
            for scenario in SCENARIOS[section]:
                names = tuple(name for name in scenario.systems if name in wanted)
                say(f"{scenario.name}: {', '.join(names)}")
                measurements += run(replace(scenario, systems=names), how_long)
            report(section, measurements, how_long, reference=REFERENCE, environments=environments)
    except StartFailed as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
