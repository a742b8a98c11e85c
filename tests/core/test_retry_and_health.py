"""Retries stay a share of requests; ejection spares half of a pool and the last worker."""

from gateway.core.health import FAILURES_TO_EJECT, probe_delay_s, should_eject
from gateway.core.retry import MOST, RESERVE, RetryBudget


def test_retries_are_a_share_of_requests_once_the_reserve_is_spent() -> None:
    budget = RetryBudget()
    while budget.spend():
        continue
    retried = 0
    for _ in range(1000):
        budget.earn(0.2)
        retried += budget.spend()
    assert 195 <= retried <= 200


def test_a_quiet_route_can_still_retry_when_a_worker_dies() -> None:
    budget = RetryBudget()
    assert sum(budget.spend() for _ in range(1000)) == int(RESERVE)


def test_a_long_calm_does_not_save_up_for_a_storm() -> None:
    budget = RetryBudget()
    for _ in range(100_000):
        budget.earn(0.2)
    assert sum(budget.spend() for _ in range(1000)) == int(MOST)


def test_ejection_needs_consecutive_failures_and_spares_half_of_the_pool() -> None:
    enough = FAILURES_TO_EJECT
    assert not should_eject(consecutive_failures=enough - 1, ejected=0, pool_size=4)
    assert should_eject(consecutive_failures=enough, ejected=1, pool_size=4)
    assert not should_eject(consecutive_failures=enough, ejected=2, pool_size=4)
    assert not should_eject(consecutive_failures=99, ejected=0, pool_size=1)


def test_probes_space_out_up_to_a_limit() -> None:
    delays = [probe_delay_s(failed) for failed in range(20)]
    assert delays == sorted(delays)
    assert delays[0] < 1 < delays[-1] <= 10
