"""Versions measured in turn, round after round, and what the rounds say together.

A difference is formed within each round, so that what the machine did besides hits both of a pair alike; its
interval is Student's over the rounds. What the interval does not exclude is said to be noise. Pure; called by
`turnout bench versions`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean, median, stdev

# Student's t at 97.5 %, by degrees of freedom from 1 on; beyond the last, that of the normal distribution
# would be 3 % too small at most.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
MEASURES = {
    "cpu_us": "worker CPU µs a request",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "per_second": "requests a second",
}


@dataclass(frozen=True, slots=True)
class Slot:
    """One version in one round; `cpu_us` is that of its workers, None where they cannot be asked."""

    version: str
    round: int
    requests: int
    failed: int
    per_second: float
    p50_ms: float | None
    p99_ms: float | None
    cpu_us: float | None

    def value(self, measure: str) -> float | None:
        found: float | None = getattr(self, measure)
        return found


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the baseline's a version's value is, with 95 %; `rounds` of both were usable."""

    measure: str
    version: str
    baseline: str
    value: float
    low: float
    high: float
    rounds: int

    @property
    def is_noise(self) -> bool:
        return self.low <= 1.0 <= self.high

    @property
    def sentence(self) -> str:
        told = f"{self.value:.3f} × [{self.low:.3f} {self.high:.3f}]"
        name = MEASURES[self.measure]
        if self.is_noise:
            return f"{name}: {self.version} is {told} that of {self.baseline}: no more than noise"
        return f"{name}: {self.version} is {told} that of {self.baseline}"


def orders(versions: Sequence[str], rounds: int, chance: Random) -> Iterator[list[str]]:
    """The order of each round: one by chance, then its reverse, so that a drift cancels out in pairs."""
    order = list(versions)
    for number in range(rounds):
        if number % 2:
            order = order[::-1]
        else:
            chance.shuffle(order)
        yield list(order)


def ratio(slots: Sequence[Slot], measure: str, *, version: str, baseline: str) -> Ratio | None:
    """None with fewer than two rounds in which both have a value: then nothing says how sure it is."""
    of_baseline = {slot.round: slot.value(measure) for slot in slots if slot.version == baseline}
    logs = [
        math.log(value / other)
        for slot in slots
        if slot.version == version
        if (value := slot.value(measure)) and (other := of_baseline.get(slot.round))
    ]
    if len(logs) < 2:
        return None
    middle = fmean(logs)
    wide = _T[min(len(logs) - 1, len(_T)) - 1] * stdev(logs) / math.sqrt(len(logs))
    return Ratio(
        measure,
        version,
        baseline,
        math.exp(middle),
        math.exp(middle - wide),
        math.exp(middle + wide),
        len(logs),
    )


def middle(slots: Sequence[Slot], measure: str, version: str) -> float | None:
    """The median over the rounds."""
    values = values_of(slots, measure, version)
    return median(values) if values else None


def values_of(slots: Sequence[Slot], measure: str, version: str) -> list[float]:
    return [value for slot in slots if slot.version == version if (value := slot.value(measure)) is not None]
