"""Retries stay a share of requests; who may be chosen of a pool in which some are ejected."""

import pytest

from gateway.core.health import Trust, choose, probe_delay_s
from gateway.core.retry import MOST, RESERVE, RetryBudget


def test_retries_are_a_share_of_requests_once_the_reserve_is_spent() -> None:
    budget = RetryBudget()
    while budget.spend(0.2):
        continue
    retried = 0
    for _ in range(1000):
        budget.asked += 1
        retried += budget.spend(0.2)
    assert 195 <= retried <= 200


def test_a_quiet_route_can_still_retry_when_a_worker_dies() -> None:
    budget = RetryBudget()
    assert sum(budget.spend(0.2) for _ in range(1000)) == int(RESERVE)


def test_a_long_calm_does_not_save_up_for_a_storm() -> None:
    budget = RetryBudget()
    budget.asked += 100_000
    assert sum(budget.spend(0.2) for _ in range(1000)) == int(MOST)


T, E, G = Trust.TRUSTED, Trust.EJECTED, Trust.GONE


@pytest.mark.parametrize(
    ("trusts", "places", "is_panic"),
    [
        ([T, T, T], [0, 1, 2], False),
        ([T, E], [0], False),  # half is enough
        ([T, E, E], [0, 1, 2], True),  # fewer than half: all are used, and it is said
        ([E, E], [0, 1], True),
        ([T, G, G, G], [0], False),  # where nothing listens is no capacity
        ([T, T, E, G], [0, 1], False),
        ([T, E, E, G], [0, 1, 2], True),
        ([G, G], [], False),  # nobody is there
        ([G], [], False),
        ([E, G], [0], True),  # never nobody, as long as somebody listens
        ([], [], False),
    ],
)
def test_who_may_be_chosen(trusts: list[Trust], places: list[int], is_panic: bool) -> None:
    assert choose(trusts) == (places, is_panic)


def test_probes_space_out_up_to_a_limit() -> None:
    delays = [probe_delay_s(failed) for failed in range(20)]
    assert delays == sorted(delays)
    assert delays[0] < 1 < delays[-1] <= 10
