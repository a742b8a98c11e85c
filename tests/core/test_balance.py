"""Two workers are drawn, equally often or by weight, and the less loaded one gets the request."""

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate

import pytest

from gateway.core.balance import least_of_two, least_of_two_by_weight, paces, ramp


@dataclass
class Worker:
    name: int
    in_flight: int = 0
    weight: float = 1.0


def test_the_only_worker_gets_it() -> None:
    only = Worker(0, in_flight=9)
    assert least_of_two([only], 0.3) is only


def test_the_less_loaded_of_two_gets_it() -> None:
    busy, free = Worker(0, in_flight=5), Worker(1)
    assert {least_of_two([busy, free], draw / 20).name for draw in range(20)} == {1}


def test_equal_workers_share_equally() -> None:
    workers = [Worker(index) for index in range(5)]
    chosen = Counter(least_of_two(workers, draw / 2000).name for draw in range(2000))
    assert all(count == 400 for count in chosen.values())


def test_the_busiest_of_three_is_never_chosen() -> None:
    workers = [Worker(0, in_flight=9), Worker(1), Worker(2)]
    assert 0 not in {least_of_two(workers, draw / 600).name for draw in range(600)}


def shares(workers: list[Worker], draws: int = 60) -> dict[int, float]:
    """How often each is chosen over a grid of both draws."""
    upto = list(accumulate(worker.weight for worker in workers))
    seen = Counter(
        least_of_two_by_weight(workers, upto, (one + 0.5) / draws, (other + 0.5) / draws).name
        for one in range(draws)
        for other in range(draws)
    )
    return {worker.name: seen[worker.name] / draws**2 for worker in workers}


def test_idle_workers_get_requests_by_their_weights() -> None:
    found = shares([Worker(0, weight=1.0), Worker(1, weight=1.0), Worker(2, weight=0.5)])
    assert found[0] == pytest.approx(0.4, abs=0.02)
    assert found[2] == pytest.approx(0.2, abs=0.02)


def test_load_counts_beside_weight() -> None:
    assert shares([Worker(0, in_flight=8, weight=4.0), Worker(1, in_flight=1, weight=1.0)])[1] > 0.3
    assert shares([Worker(0, in_flight=4, weight=4.0), Worker(1, in_flight=4, weight=1.0)])[1] < 0.1


def test_a_fresh_worker_ramps_up_linearly() -> None:
    assert [ramp(age, 10.0) for age in (-1, 0, 0.5, 5, 10, 99)] == [0.1, 0.1, 0.1, 0.5, 1.0, 1.0]
    assert ramp(0.0, 0.0) == 1.0


def test_a_worker_ten_times_slower_is_left_less_than_one_request_in_a_hundred() -> None:
    weights = paces([300.0, 320.0, 3000.0])
    assert weights[:2] == [1.0, 1.0]
    assert weights[2] / sum(weights) < 0.01
    workers = [Worker(name, weight=weight) for name, weight in enumerate(weights)]
    upto = list(accumulate(weights))
    assert least_of_two_by_weight(workers, upto, 0.9999, 0.5).name == 2, "it is still asked now and then"


def test_chance_and_the_unknown_cost_no_weight() -> None:
    assert paces([100.0, 190.0, 0.0]) == [1.0, 1.0, 1.0]
    assert paces([]) == []
    assert min(paces([1.0, 1e9])) > 0
