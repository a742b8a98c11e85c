"""Which unit asks next, and which labels are due: what the driver's requests have in common.

Pure but for the chance given to it. Used by the driver.
"""

import heapq
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random
from typing import Literal

Skew = Literal["zipf", "uniform"]


class Units:
    """Unit ids; with `zipf` a few ask often: the share of rank k is as 1/k."""

    def __init__(self, count: int, skew: Skew) -> None:
        self.names = [f"unit-{number}" for number in range(count)]
        self.shares = list(accumulate(1 / rank for rank in range(1, count + 1))) if skew == "zipf" else None

    def draw(self, chance: Random) -> str:
        if self.shares is None:
            return self.names[int(chance.random() * len(self.names))]
        return chance.choices(self.names, cum_weights=self.shares)[0]


@dataclass(order=True, frozen=True, slots=True)
class Label:
    """What became of a prediction, known at `due_s`."""

    due_s: float
    prediction_id: str
    value: object = field(compare=False)
    version: str = field(compare=False)


@dataclass(slots=True)
class Labels:
    """Feedback that becomes due some time after its prediction; beyond `bound` it is left out and counted."""

    bound: int
    waiting: list[Label] = field(default_factory=list)
    left_out: int = 0

    def learn_later(self, label: Label) -> None:
        if len(self.waiting) >= self.bound:
            self.left_out += 1
        else:
            heapq.heappush(self.waiting, label)

    def due(self, now_s: float, most: int) -> list[Label]:
        """What is due now, at most so many, taken out."""
        found: list[Label] = []
        while self.waiting and self.waiting[0].due_s <= now_s and len(found) < most:
            found.append(heapq.heappop(self.waiting))
        return found


def lines(labels: Iterable[Label]) -> str:
    """Feedback as NDJSON."""
    return "".join(
        json.dumps({"prediction_id": label.prediction_id, "label": label.value}) + "\n" for label in labels
    )
