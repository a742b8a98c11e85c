"""An adaptive limit finds the concurrency at which a version is busy and its answers are still prompt."""

import pytest

from gateway.core.limit import LEAST_PER_WORKER, REMEASURE_S, Gradient, expected_wait_s

WINDOW_S = 0.25
MOST = 512


class Simulated:
    """A version that answers `slots` requests at once in `run_us` each: more at once only wait longer."""

    def __init__(self, *, slots: int, run_us: float, demand: int = 10_000) -> None:
        self.slots = slots
        self.run_us = run_us
        self.demand = demand
        self.gradient = Gradient()
        self.limit = MOST
        self.now_s = 100.0

    def windows(self, count: int) -> list[int]:
        limits = []
        for _ in range(count):
            active = min(self.limit, self.demand)
            latency_us = self.run_us * max(1.0, active / self.slots)
            answers = int(WINDOW_S * 1e6 / latency_us * active)
            self.now_s += WINDOW_S
            self.limit = self.gradient.step(
                now_s=self.now_s,
                answers=answers,
                mean_us=latency_us if answers else 0.0,
                was_full=active >= self.limit,
                workers=1,
                most=MOST,
            )
            limits.append(self.limit)
        return limits


@pytest.mark.parametrize("slots", [1, 4, 32])
def test_under_overload_latency_stays_within_a_few_times_that_at_rest(slots: int) -> None:
    version = Simulated(slots=slots, run_us=2_000)
    settled = version.windows(100)[40:]
    assert max(settled) <= max(5 * slots, 4 * LEAST_PER_WORKER)
    assert min(settled) >= min(slots, LEAST_PER_WORKER)


def test_a_limit_that_nobody_reaches_does_not_grow() -> None:
    version = Simulated(slots=64, run_us=2_000, demand=3)
    version.gradient.limit = 16.0
    assert max(version.windows(int(REMEASURE_S / WINDOW_S) - 1)) <= 16


def test_the_limit_rises_again_when_the_version_has_become_faster() -> None:
    version = Simulated(slots=2, run_us=2_000)
    small = version.windows(60)[-1]
    version.slots = 64
    assert max(version.windows(200)) > 3 * small


def test_too_few_answers_change_nothing_and_none_divides_by_zero() -> None:
    gradient = Gradient(limit=20.0, rest_us=100.0, measured_s=5.0)
    limit = gradient.step(now_s=6.0, answers=0, mean_us=0.0, was_full=True, workers=1, most=MOST)
    assert limit == 20


def test_a_wait_is_expected_from_how_fast_places_come_free() -> None:
    assert expected_wait_s(100, turns=50, in_s=0.05) == pytest.approx(0.1)
    assert expected_wait_s(100, turns=9, in_s=10.0) == 0.0
