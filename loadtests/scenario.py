"""What the locust users have in common: who they are, which labels are due, and what each version answered.

Pure but for the random numbers given to it, so that it is tested without locust. Used by `locustfile`.
"""

import heapq
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random
from typing import Any

UNITS = 5_000


class Units:
    """Unit ids of which a few ask often: the share of rank k is as 1/k (Zipf)."""

    def __init__(self, count: int = UNITS) -> None:
        self.names = [f"unit-{number}" for number in range(count)]
        self.shares = list(accumulate(1 / rank for rank in range(1, count + 1)))

    def draw(self, chance: Random) -> str:
        return chance.choices(self.names, cum_weights=self.shares)[0]


@dataclass(slots=True)
class Labels:
    """Feedback that becomes due some time after its prediction."""

    waiting: list[tuple[float, str, float]] = field(default_factory=list)

    def learn_later(self, due_s: float, prediction_id: str, label: float) -> None:
        heapq.heappush(self.waiting, (due_s, prediction_id, label))

    def due(self, now_s: float) -> list[tuple[str, float]]:
        """What is due now, taken out."""
        found = []
        while self.waiting and self.waiting[0][0] <= now_s:
            _, prediction_id, label = heapq.heappop(self.waiting)
            found.append((prediction_id, label))
        return found


def lines(labels: Iterable[tuple[str, float]]) -> str:
    """Feedback as NDJSON."""
    return "".join(
        json.dumps({"prediction_id": prediction_id, "label": label}) + "\n" for prediction_id, label in labels
    )


@dataclass(slots=True)
class Tally:
    """What clients saw of one version; `joined` labels were accepted by the gateway."""

    predictions: int = 0
    right: int = 0
    joined: int = 0


class PerVersion:
    """Tallies by (model, version); travels between locust's processes as JSON."""

    def __init__(self) -> None:
        self.tallies: dict[tuple[str, str], Tally] = {}

    def of(self, model: str, version: str) -> Tally:
        return self.tallies.setdefault((model, version), Tally())

    def taken(self) -> list[list[Any]]:
        """Everything counted since the last call."""
        rows = [[*key, tally.predictions, tally.right, tally.joined] for key, tally in self.tallies.items()]
        self.tallies.clear()
        return rows

    def add(self, rows: Iterable[list[Any]]) -> None:
        for model, version, predictions, right, joined in rows:
            tally = self.of(model, version)
            tally.predictions += predictions
            tally.right += right
            tally.joined += joined

    def table(self) -> str:
        """For people; the client's own view, to be laid beside `turnout compare`."""
        rows = [f"{'model':<12} {'version':<12} {'predictions':>12} {'share':>8} {'right':>8} {'labels':>8}"]
        total: dict[str, int] = {}
        for (model, _), tally in self.tallies.items():
            total[model] = total.get(model, 0) + tally.predictions
        for (model, version), tally in sorted(self.tallies.items()):
            share = tally.predictions / max(1, total[model])
            right = tally.right / max(1, tally.predictions)
            rows.append(
                f"{model:<12} {version:<12} {tally.predictions:>12,} {share:>7.1%} {right:>7.1%} "
                f"{tally.joined:>8,}"
            )
        return "\n".join(rows)


def label_in(reply: Mapping[str, Any]) -> float | None:
    """The first value of the output named `label`, if the reply has one."""
    for tensor in reply.get("outputs", ()):
        if tensor.get("name") == "label":
            return float(tensor["data"][0])
    return None
