"""Bins of a distribution of numbers: fixed for ever, so that counts of all times and processes add up.

A bin is a quarter of an octave wide (19 %), like the buckets of latencies: `+13` holds numbers near
2 ** (13 / 4), `-13` the negative ones, and `0` what is smaller than `LEAST`. Counted in `lua/scoring.lua`.
"""

import math

LEAST = 1e-9
PER_OCTAVE = 4
MOST = 120  # about a billion; what is larger is in the last bin


def bin_of(value: float) -> str:
    """The bin that a finite number belongs to."""
    if abs(value) < LEAST:
        return "0"
    step = math.floor(PER_OCTAVE * math.log2(abs(value)) + 0.5)
    return ("-" if value < 0 else "+") + str(max(-MOST, min(MOST, step)))


def middle_of(name: str) -> float | None:
    """The number that a bin stands for; None where the name is no bin's."""
    if name == "0":
        return 0.0
    sign, digits = name[:1], name[1:]
    if sign not in ("+", "-") or not digits.lstrip("-").isdigit():
        return None
    size: float = 2.0 ** (int(digits) / PER_OCTAVE)
    return size if sign == "+" else -size
