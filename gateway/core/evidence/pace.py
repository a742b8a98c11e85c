"""How many requests a second, from counters of minutes that are read again and again. Pure: time is told.

Counters of a minute only grow while it lasts; the total over all minutes is carried on from one reading to
the next, so that the turn of a minute shows nowhere. Called by `control.overview`.
"""

from collections import deque
from collections.abc import Mapping

SPAN_S = 10.0  # of the average: long enough to be calm, short enough to show a change
LEAST_S = 3.0  # with less, whole minutes are the better estimate

Key = tuple[str, str]  # role, version
Counts = Mapping[int, Mapping[Key, float]]  # minute -> requests


class Pace:
    """Of one model."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[Key, float]] = {}
        self._totals: dict[Key, float] = {}
        self._readings: deque[tuple[float, dict[Key, float]]] = deque()

    def read(self, counts: Counts, now_s: float) -> dict[Key, float]:
        """Requests a second of each version in each role; `now_s` is of the clock that counts minutes."""
        for minute, by_key in counts.items():
            before = self._seen.get(minute, {})
            for key, count in by_key.items():
                self._totals[key] = self._totals.get(key, 0.0) + max(0.0, count - before.get(key, 0.0))
        self._seen = {minute: dict(by_key) for minute, by_key in counts.items()}
        if not self._readings or now_s > self._readings[-1][0]:
            self._readings.append((now_s, dict(self._totals)))
        while now_s - self._readings[0][0] > SPAN_S:
            self._readings.popleft()
        began_s, first = self._readings[0]
        if now_s - began_s < LEAST_S:
            return _of_minutes(counts, now_s)
        span_s = now_s - began_s
        return {key: (total - first.get(key, 0.0)) / span_s for key, total in self._totals.items()}


def _of_minutes(counts: Counts, now_s: float) -> dict[Key, float]:
    """The best that one reading can say: what there is, by the time since its first minute began."""
    if not counts:
        return {}
    lasted_s = max(1.0, now_s - 60 * min(counts))
    found: dict[Key, float] = {}
    for by_key in counts.values():
        for key, count in by_key.items():
            found[key] = found.get(key, 0.0) + count / lasted_s
    return found
