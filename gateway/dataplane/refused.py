"""How many requests were refused in the last minute, by error code, from counters that only grow.

Read when the process says that it is there, about once a second, so that a refusal itself costs nothing more.
Must not know: whose counters they are. Called by `follower`.
"""

from collections import deque
from collections.abc import Mapping

SPAN_S = 60.0
STEP_S = 1.0  # readings that come faster are not kept


class LastMinute:
    def __init__(self) -> None:
        self._readings: deque[tuple[float, dict[str, int]]] = deque([(float("-inf"), {})])

    def read(self, counts: Mapping[str, int], now_s: float) -> dict[str, int]:
        """What was counted since a minute ago (up to `STEP_S` more), without zeros."""
        readings = self._readings
        if now_s - readings[-1][0] >= STEP_S:
            readings.append((now_s, dict(counts)))
        while len(readings) > 1 and now_s - readings[1][0] >= SPAN_S:
            readings.popleft()
        before = readings[0][1]
        return {code: grown for code, count in counts.items() if (grown := count - before.get(code, 0))}
