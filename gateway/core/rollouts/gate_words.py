"""How the numbers of gates are written for people: points, percent, milliseconds, times.

Called by `core.rollouts.gate_readings` and `core.rollouts.gates`. It knows no gates and no evidence.
"""

import math
from collections.abc import Callable

Show = Callable[[float], str]


def points(value: float) -> str:
    """A difference of two shares: 0.312 -> "31.2 points"."""
    text = _short(100 * value)
    return f"{text} point" if text == "1" else f"{text} points"


def percent(value: float) -> str:
    return f"{_short(100 * value)} %"


def milliseconds(value: float) -> str:
    return "beyond what is measured" if math.isinf(value) else f"{_short(value)} ms"


def times(value: float) -> str:
    return "any number of times" if math.isinf(value) else f"{_short(value)} times"


def plain(value: float) -> str:
    return f"{value:.4g}"


def count(number: float) -> str:
    return f"{round(number):,}"


def outlook(more: int | None, *, noun: str) -> str:
    if more is None:
        return f"how many more {noun} are needed cannot be told yet"
    step: int = 10 ** max(0, len(str(more)) - 2)  # two digits: the rest of an estimate is noise
    return f"about {math.ceil(max(1, more) / step) * step:,} more {noun} are expected to be needed"


def sureness(alpha: float) -> str:
    return f"{100 * (1 - alpha):.4g} % sure"


def _short(value: float) -> str:
    """Three digits, and no fewer than the whole part has."""
    if abs(value) < 0.001:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
