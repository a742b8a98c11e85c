"""When requests are due: constant rates, ramps, chance, and the share of each process."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.loadtest.schedule import Phase, arrivals, level_at, share_of, total_s

LEVELS = st.floats(0, 300)
PHASES = st.lists(st.builds(Phase, st.floats(0.1, 5), LEVELS, LEVELS), min_size=1, max_size=4)


def test_a_constant_rate_is_evenly_spaced() -> None:
    due = list(arrivals([Phase(2, 50, 50)]))
    assert len(due) == 100
    assert due[:3] == pytest.approx([0.0, 0.02, 0.04])


def test_a_ramp_sends_as_many_as_the_area_below_it() -> None:
    due = list(arrivals([Phase(10, 0, 100)]))
    assert len(due) == 500
    assert sum(at_s < 5 for at_s in due) == pytest.approx(125, abs=1)


def test_a_spike_goes_on_where_the_phase_before_it_ended() -> None:
    due = list(arrivals([Phase(1, 10, 10), Phase(1, 100, 100), Phase(1, 10, 10)]))
    assert [sum(begin <= at_s < begin + 1 for at_s in due) for begin in range(3)] == [10, 100, 10]


@given(PHASES, st.integers(1, 5))
def test_processes_together_send_what_one_would(phases: list[Phase], of: int) -> None:
    alone = list(arrivals(phases))
    together = sorted(at_s for index in range(of) for at_s in arrivals(phases, index=index, of=of))
    assert together == pytest.approx(alone)
    assert all(first <= second + 1e-9 for first, second in pairwise(alone))
    assert all(0 <= at_s <= total_s(phases) + 1e-9 for at_s in alone)


def test_chance_keeps_the_rate_and_not_the_spacing() -> None:
    chance = random.Random(1)
    due = list(arrivals([Phase(100, 100, 100)], gap=lambda: chance.expovariate(1)))
    gaps = [second - first for first, second in pairwise(due)]
    assert len(due) == pytest.approx(10_000, rel=0.03)
    assert sum(gap > 0.01 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.02)  # 1/e


def test_a_level_is_read_off_its_phase_and_nothing_outside() -> None:
    phases = [Phase(10, 0, 10), Phase(5, 3, 3)]
    assert [level_at(phases, at_s) for at_s in (0, 5, 10, 14.9, 15)] == [0, 5, 3, 3, 0]


@given(st.integers(0, 500), st.integers(1, 9))
def test_every_user_belongs_to_one_process(users: int, of: int) -> None:
    shares = [share_of(users, index=index, of=of) for index in range(of)]
    assert sum(shares) == users
    assert max(shares) - min(shares) <= 1
