"""How many requests a second, from counters that are read again and again. Pure: time is told.

Called by the pages that show traffic.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

SPAN_S = 10.0  # of the average: long enough to be calm, short enough to show a change
LEAST_S = 3.0  # with less, whole minutes are the better estimate

Key = tuple[str, str]  # role, version


class Meter:
    """Reads the answers of `traffic`."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, dict[Key, int]]] = deque()
        self._minute: int | None = None

    def read(self, answer: Mapping[str, Any], now_s: float) -> dict[Key, float]:
        """Requests a second of each version in each role."""
        counts = {(row["role"], row["version"]): int(row["requests"]) for row in answer["versions"]}
        if answer["first_minute"] != self._minute:  # the counters begin anew
            self._minute = answer["first_minute"]
            self._readings.clear()
        if not self._readings or self._readings[-1][0] < now_s:
            self._readings.append((now_s, counts))
        while now_s - self._readings[0][0] > SPAN_S:
            self._readings.popleft()
        began_s, first = self._readings[0]
        span_s = now_s - began_s
        if span_s < LEAST_S:
            whole_s = max(1.0, now_s - 60 * answer["first_minute"])
            return {key: count / whole_s for key, count in counts.items()}
        return {key: max(0, count - first.get(key, 0)) / span_s for key, count in counts.items()}


def total(rates: Mapping[Key, float]) -> float:
    """What clients ask for: copies to shadows are not of theirs."""
    return sum(per_s for (role, _), per_s in rates.items() if role == "primary")
