"""How long to measure, and which systems: the options that `bench` and `serving` have in common."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """`patience_s`: how long a measurement waits for other work on the machine to end."""

    rounds: int
    seconds: float
    patience_s: float


FULL = Effort(rounds=7, seconds=4, patience_s=20)
QUICK = Effort(rounds=3, seconds=1, patience_s=1)


def add_options(parser: argparse.ArgumentParser, *, always: str) -> None:
    """`always` is the system that is measured whatever `--only` says."""
    parser.add_argument("--quick", action="store_true", help="three short rounds: a look, not a result")
    parser.add_argument(
        "--rounds", type=int, help=f"of each system (default {FULL.rounds}, quick {QUICK.rounds})"
    )
    parser.add_argument(
        "--seconds", type=float, help=f"of load in a round (default {FULL.seconds}, quick {QUICK.seconds})"
    )
    parser.add_argument("--only", help=f"systems to measure besides {always}, separated by commas")


def effort(options: argparse.Namespace) -> Effort:
    usual = QUICK if options.quick else FULL
    return Effort(options.rounds or usual.rounds, options.seconds or usual.seconds, usual.patience_s)


def chosen(
    parser: argparse.ArgumentParser, only: str | None, systems: Sequence[str], *, always: str
) -> tuple[str, ...]:
    """The systems to measure, in their order; ends the program when a name is not known."""
    wanted = {always, *only.split(",")} if only else set(systems)
    if unknown := sorted(wanted - set(systems)):
        parser.error(f"there is no system {unknown[0]}; there are {', '.join(systems)}")
    return tuple(name for name in systems if name in wanted)
