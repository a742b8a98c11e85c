"""How many requests may be at the workers of a version at once, and is it worth waiting for a place?

Fixed: so many for each ready worker. Adaptive: a gradient of latencies, after Netflix' concurrency-limits and
Envoy's adaptive concurrency filter. The latency that a version has with few requests at once is measured now
and then; while the present one is within `TOLERANCE` of it the limit grows by its square root, beyond that it
shrinks in proportion. Latency is what workers say they needed, queueing included, so that a gateway that is
itself slow for a moment does not throttle its workers.
"""

from dataclasses import dataclass
from math import sqrt

TOLERANCE = 2.0  # times the latency at rest; batching alone makes a busy worker's answers about this slow
LEAST_PER_WORKER = 4  # also what is allowed while the latency at rest is measured
REMEASURE_S = 30.0
ENOUGH = 20  # answers that a window must hold to be believed
ENOUGH_TURNS = 10  # of those who waited, before their pace is believed


@dataclass(slots=True)
class Gradient:
    """State of one version's adaptive limit; `step` is called with every window of answers."""

    limit: float = 0.0
    rest_us: float = 0.0  # 0 = to be measured
    measured_s: float = 0.0

    def step(
        self, *, now_s: float, answers: int, mean_us: float, was_full: bool, workers: int, most: int
    ) -> int:
        """The limit from now on. `most`: the fixed limit of `workers` together, which is never exceeded."""
        least = min(most, LEAST_PER_WORKER * workers)
        if now_s - self.measured_s > REMEASURE_S:
            self.rest_us, self.measured_s = 0.0, now_s
            return least
        if answers < ENOUGH:
            return max(least, min(most, int(self.limit) or most))
        if self.rest_us == 0:
            self.rest_us = mean_us
        self.rest_us = min(self.rest_us, mean_us)
        slope = max(0.5, min(1.0, TOLERANCE * self.rest_us / mean_us))
        present = self.limit or float(most)
        wished = present * slope + sqrt(present)
        if wished < present or was_full:  # what nobody asked for proves nothing about room above
            self.limit = max(float(least), min(float(most), (present + wished) / 2))
        return int(self.limit or most)


def expected_wait_s(ahead: int, *, turns: float, in_s: float) -> float:
    """For one who comes behind `ahead` others; `turns` of them were given in the last `in_s` seconds.

    Only the pace at which a full version gives turns says how long to wait: what it answered before, while
    fewer asked, says how few those were. 0 while that pace is not known.
    """
    return ahead * in_s / turns if turns >= ENOUGH_TURNS else 0.0
