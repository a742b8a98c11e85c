"""What `loadtests.rollout_study` found, as values and as a Markdown page."""

from collections.abc import Iterable
from dataclasses import dataclass

HEAD = """# Rollouts: how often they are wrong

Written by `python -m loadtests.rollout_study`; do not edit. Simulated traffic with known truths, decided by
the rules that the controller uses (seed SEED). The rules: [rollouts.md](rollouts.md).

## False alarms

The truth lies exactly on the gate's bound, which is the hardest case: neither FAIL nor PASS would be right.
A rollout of three steps looks at the gate every ten seconds, and one wrong verdict in all of them counts.
*At most* is the upper end of a 95 % interval.

| gate | error it may have | rollouts | looks each | ever FAIL | at most | ever PASS | at most |
|---|---|---|---|---|---|---|---|
"""
TEMPLATES = """
## Templates

50 requests a second from 5,000 units, half of them labelled after a minute, unless the truth says otherwise;
baseline: accuracy 0.95, 0.1 % errors, median latency 8 ms. *Breaks* names the gates whose bound the candidate
breaks in truth: it should not be promoted. *Undecided*: paused at a maximum, or still held after 12 hours.
Waits for a person are not counted. Requests and units are those that the candidate answered. All but the
shares are medians.

| template | candidate | breaks | promoted | sent back | undecided | time | requests | units |
|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """One template and one truth. `beyond` names the gates whose bound the truth breaks."""

    template: str
    truth: str
    beyond: tuple[str, ...]
    rollouts: int
    promoted: int
    sent_back: int
    undecided: int
    median_s: float
    median_requests: float
    median_units: float


@dataclass(frozen=True, slots=True)
class Alarms:
    """A gate with the truth on its bound: how many rollouts ever saw a FAIL, and how many ever a PASS."""

    gate: str
    allowed: float
    rollouts: int
    looks: int
    fails: int
    fails_at_most: float
    passes: int
    passes_at_most: float


def page(cells: Iterable[Cell], alarms: Iterable[Alarms], *, seed: int) -> str:
    rows = [*map(_alarms, alarms), TEMPLATES, *map(_cell, cells)]
    return HEAD.replace("SEED", str(seed)) + "".join(rows)


def _alarms(found: Alarms) -> str:
    fails, passes = found.fails / found.rollouts, found.passes / found.rollouts
    return (
        f"| {found.gate} | {found.allowed:.1%} | {found.rollouts:,} | {found.looks} | {fails:.2%} |"
        f" {found.fails_at_most:.2%} | {passes:.2%} | {found.passes_at_most:.2%} |\n"
    )


def _cell(cell: Cell) -> str:
    counts = (cell.promoted, cell.sent_back, cell.undecided)
    shares = " | ".join(f"{count / cell.rollouts:.0%}" for count in counts)
    breaks = ", ".join(cell.beyond) or "–"
    return (
        f"| {cell.template} | {cell.truth} | {breaks} | {shares} | {_time(cell.median_s)} |"
        f" {cell.median_requests:,.0f} | {cell.median_units:,.0f} |\n"
    )


def _time(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
