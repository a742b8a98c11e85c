"""Two different workers are drawn, each pair equally often, and the less loaded one gets the request."""

from collections import Counter
from dataclasses import dataclass

from gateway.core.balance import least_of_two


@dataclass
class Worker:
    name: int
    in_flight: int = 0


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
