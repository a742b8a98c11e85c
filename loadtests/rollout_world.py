"""A world of a rehearsal whose truth is known: two versions with given accuracy, errors and latency.

Every number is drawn from a seeded generator; labels come for a share of the predictions, after a delay. Used
by `loadtests.rollout_study`.
"""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from gateway.contract.evidence import PRIMARY, SHADOW
from gateway.contract.latency import BOUNDS_US
from gateway.contract.route import Route
from gateway.core.evidence.sums import Sums, Table
from gateway.core.rollouts.rehearse import Observed, sum_of
from gateway.core.rollouts.rollout_route import share_of

BASELINE, CANDIDATE = "2", "4"


@dataclass(frozen=True, slots=True)
class Truth:
    """`accuracy`, `errors` and `latency_ms` (the median) of baseline and candidate. `differ`: share of the
    cases that exactly one of both gets right, beyond what their accuracies need."""

    name: str
    accuracy: tuple[float, float] = (0.95, 0.95)
    errors: tuple[float, float] = (0.001, 0.001)
    latency_ms: tuple[float, float] = (8.0, 8.0)
    spread: float = 0.5  # of the logarithm of latency
    differ: float = 0.02
    rate: float = 50.0  # requests a second
    coverage: float = 0.5  # share of the predictions that get a label
    label_delay_s: float = 60.0
    units: int = 5000

    @property
    def joint(self) -> tuple[float, float, float, float]:
        """Chance that both, only the baseline, only the candidate, and none is right."""
        first, second = self.accuracy
        only_second = min(self.differ / 2 + max(0.0, second - first), 1 - first)
        only_first = first - (second - only_second)
        return first - only_first, only_first, only_second, 1 - first - only_second


@dataclass(slots=True)
class KnownWorld:
    truth: Truth
    chance: np.random.Generator
    now_s: float = 0.0
    labels: deque[tuple[float, Table]] = field(default_factory=deque)
    shares: tuple[list[float], list[float]] = field(init=False)
    exposed: float = 0.0  # units that the candidate answered, expected

    def __post_init__(self) -> None:
        first, second = (_bucket_shares(median, self.truth.spread) for median in self.truth.latency_ms)
        self.shares = (first, second)

    def passed(self, route: Route, tick_s: float) -> Observed:
        share = share_of(route, CANDIDATE) / 100
        copied = sum(shadow.percent for shadow in route.shadows if shadow.version == CANDIDATE) / 100
        asked = int(self.chance.poisson(self.truth.rate * tick_s))
        to_candidate = int(self.chance.binomial(asked, share))
        to_baseline = asked - to_candidate
        copies = int(self.chance.binomial(to_baseline, copied))
        self._expose(share, to_candidate)
        self.now_s += tick_s
        answered = Table(
            {
                (PRIMARY, BASELINE): self._answers(to_baseline, 0),
                (PRIMARY, CANDIDATE): self._answers(to_candidate, 1),
                (SHADOW, CANDIDATE): self._answers(copies, 1),
            },
            {},
            {},
        )
        labelled = self._labels(to_baseline - copies, to_candidate, copies)
        self.labels.append((self.now_s + self.truth.label_delay_s, labelled))
        while self.labels and self.labels[0][0] <= self.now_s:
            answered = sum_of(answered, self.labels.popleft()[1])
        return Observed(answered)

    def _expose(self, share: float, requests: int) -> None:
        """Units stick: of those that belong to the candidate, the ones that came."""
        theirs = share * self.truth.units
        if theirs > self.exposed:
            self.exposed += (theirs - self.exposed) * -math.expm1(-requests / theirs)

    def _answers(self, n: int, which: int) -> Sums:
        if n <= 0:
            return Sums({})
        failed = int(self.chance.binomial(n, self.truth.errors[which]))
        found: dict[str, float] = {"n": n, "ok": n - failed}
        if failed:
            found["e:bad_upstream"] = failed
        for index, count in enumerate(self.chance.multinomial(n - failed, self.shares[which])):
            if count:
                found[f"h{index}"] = float(count)
        return Sums(found)

    def _labels(self, alone: int, to_candidate: int, copies: int) -> Table:
        truth = self.truth
        known = [int(self.chance.binomial(n, truth.coverage)) for n in (alone, to_candidate, copies)]
        both, first, second, _ = (int(n) for n in self.chance.multinomial(known[2], truth.joint))
        right = int(self.chance.binomial(known[0], truth.accuracy[0]))
        roles = {
            (PRIMARY, BASELINE): _scored(known[0] + known[2], right + both + first),
            (PRIMARY, CANDIDATE): _scored(known[1], int(self.chance.binomial(known[1], truth.accuracy[1]))),
            (SHADOW, CANDIDATE): _scored(known[2], both + second),
        }
        paired = {}
        if known[2]:
            paired[BASELINE, CANDIDATE] = Sums({"rows": known[2], "b": first, "c": second})
        return Table({key: sums for key, sums in roles.items() if sums.values}, {}, paired)


def _scored(rows: int, right: int) -> Sums:
    return Sums({"rows": rows, "right": right}) if rows else Sums({})


def _bucket_shares(median_ms: float, spread: float) -> list[float]:
    """Shares of a lognormal latency in the buckets of `contract.latency`."""
    center = math.log(1000 * median_ms)
    under = [0.5 * math.erfc((center - math.log(bound)) / (spread * math.sqrt(2))) for bound in BOUNDS_US]
    return list(np.diff([0.0, *under, 1.0]))
