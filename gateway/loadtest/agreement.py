"""How often versions are right, and how often two of them give the same answer to the same input.

Pure; called by `turnout bench versions`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.core.evidence.scores import Estimate, rate
from gateway.loadtest.answers import answer_in, score
from gateway.loadtest.scenario import Input

ALPHA = 0.05
_SAME = 1e-6  # relative difference of two measured numbers that are called the same


@dataclass(frozen=True, slots=True)
class Agreement:
    """`apart` is the mean difference of answers that are measured numbers."""

    one: str
    other: str
    share: Estimate
    apart: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """Of the inputs that have a label; `error` is the mean absolute error of measured numbers."""

    scored: int
    accuracy: Estimate | None
    error: float | None


def score_of(answers: Mapping[int, bytes], inputs: Sequence[Input]) -> Score:
    found = [
        scored
        for place, body in answers.items()
        if inputs[place].label is not None and (scored := score(body, inputs[place].label)) is not None
    ]
    errors = [scored.error for scored in found if scored.error is not None]
    classes = [scored for scored in found if scored.error is None]
    return Score(
        len(found),
        rate(sum(scored.is_right for scored in classes), len(classes), alpha=ALPHA) if classes else None,
        sum(errors) / len(errors) if errors else None,
    )


def agreements(answers: Mapping[str, Mapping[int, bytes]]) -> list[Agreement]:
    """Of every pair of versions that answered the same inputs."""
    values = {
        version: {place: answer_in(body) for place, body in bodies.items()}
        for version, bodies in answers.items()
    }
    names, found = list(values), []
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            pairs = [
                (answer[0], against[0])
                for place, answer in values[one].items()
                if answer is not None and (against := values[other].get(place)) is not None
            ]
            share = rate(sum(_is_same(*pair) for pair in pairs), len(pairs), alpha=ALPHA)
            if share is not None:
                found.append(Agreement(one, other, share, _apart(pairs)))
    return found


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_SAME)
    return one == other


def _apart(pairs: Sequence[tuple[object, object]]) -> float | None:
    differences = [
        abs(one - other) for one, other in pairs if isinstance(one, float) and isinstance(other, float)
    ]
    return sum(differences) / len(differences) if differences else None
