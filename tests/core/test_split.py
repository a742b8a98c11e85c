"""Shares are exact, stickiness is stable, and a raised canary takes units but never gives one back."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.split import by_draw, by_unit, compile_split

UNITS = [f"user-{number}".encode() for number in range(20_000)]


def binomial_tail(successes: int, trials: int, share: float) -> float:
    """Two-sided exact p-value, doubled smaller tail."""

    def log_mass(k: int) -> float:
        return (
            math.lgamma(trials + 1)
            - math.lgamma(k + 1)
            - math.lgamma(trials - k + 1)
            + k * math.log(share)
            + (trials - k) * math.log1p(-share)
        )

    lower = math.fsum(math.exp(log_mass(k)) for k in range(successes + 1))
    upper = math.fsum(math.exp(log_mass(k)) for k in range(successes, trials + 1))
    return min(1.0, 2 * min(lower, upper))


@pytest.mark.parametrize("canary", [0.1, 1.0, 5.0, 25.0, 50.0])
def test_100_000_draws_lie_inside_exact_binomial_bounds(canary: float) -> None:
    split = compile_split([("1", 100 - canary), ("2", canary)], salt="digits")
    chance = random.Random(7)
    drawn = sum(by_draw(split, chance.random()) == "2" for _ in range(100_000))
    assert binomial_tail(drawn, 100_000, canary / 100) > 1e-6


@pytest.mark.parametrize("canary", [0.1, 1.0, 5.0, 25.0, 50.0])
def test_units_fall_to_versions_in_proportion_to_weights(canary: float) -> None:
    split = compile_split([("1", 100 - canary), ("2", canary)], salt="digits")
    chosen = sum(by_unit(split, unit) == "2" for unit in UNITS)
    assert binomial_tail(chosen, len(UNITS), canary / 100) > 1e-6


def test_raising_a_canary_never_moves_a_unit_back() -> None:
    in_canary: set[bytes] = set()
    for canary in (1, 5, 25, 100):
        split = compile_split([("1", 100 - canary), ("2", canary)], salt="digits")
        now = {unit for unit in UNITS if by_unit(split, unit) == "2"}
        assert in_canary <= now
        in_canary = now
    assert len(in_canary) == len(UNITS)


def test_a_new_version_takes_units_without_moving_others_among_the_old() -> None:
    before = compile_split([("1", 50), ("2", 50)], salt="digits")
    after = compile_split([("1", 45), ("2", 45), ("3", 10)], salt="digits")
    for unit in UNITS[:5000]:
        assert by_unit(after, unit) in (by_unit(before, unit), "3")


def test_models_split_their_units_independently() -> None:
    one = compile_split([("1", 50), ("2", 50)], salt="digits")
    other = compile_split([("1", 50), ("2", 50)], salt="diabetes")
    same = sum(by_unit(one, unit) == by_unit(other, unit) for unit in UNITS)
    assert binomial_tail(same, len(UNITS), 0.5) > 1e-6


def test_the_decision_can_be_computed_again_by_the_published_rule() -> None:
    from hashlib import blake2b

    weights = [("1", 70.0), ("2", 30.0)]
    split = compile_split(weights, salt="digits")
    for unit in UNITS[:200]:
        scores = {}
        for version, weight in weights:
            digest = blake2b(b"digits\0" + version.encode() + b"\0" + unit, digest_size=8).digest()
            scores[version] = -weight / math.log((int.from_bytes(digest, "big") + 0.5) / 2**64)
        assert by_unit(split, unit) == max(scores, key=lambda version: scores[version])


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8).filter(any), st.floats(0, 1, exclude_max=True))
@settings(max_examples=200)
def test_a_version_with_weight_zero_gets_nothing(parts: list[int], draw: float) -> None:
    total = sum(parts)
    weights = [(str(index), 100 * part / total) for index, part in enumerate(parts)]
    split = compile_split(weights, salt="m")
    positive = {version for version, weight in weights if weight > 0}
    assert by_draw(split, draw) in positive
    assert by_unit(split, str(draw).encode()) in positive
