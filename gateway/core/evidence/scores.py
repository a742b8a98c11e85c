"""How well one version does in one role: sums of evidence turned into numbers with intervals.

Every interval is a confidence sequence of `core.evidence.statistics` at its own `alpha`. Rows of one batch
count as independent trials. A number whose data do not exist is None; none is ever NaN. Called by
`core.evidence.compare`, and by whoever shows one version alone. It does not compare and does not judge.
"""

import math
from dataclasses import dataclass

from gateway.contract.errors import is_versions_fault
from gateway.contract.evidence import PRIMARY, SHADOW
from gateway.core.evidence.statistics import Interval, latency_quantile, mean_interval, rate_interval
from gateway.core.evidence.sums import Sums

MAX_CLASSES = 100  # classes listed; models with more are still scored as a whole
ROLE_NAMES = {PRIMARY: "primary", SHADOW: "shadow"}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, the interval it lies in, and how many observations it rests on."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Of answered requests, in µs; quantiles are bounds of histogram buckets."""

    mean_us: float
    p50_us: Estimate
    p90_us: Estimate
    p99_us: Estimate


@dataclass(frozen=True, slots=True)
class LabelAge:
    """How long after their predictions labels came, in s; each at most twice as long as said."""

    median_s: float
    p90_s: float


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class of a classifier; `label` is JSON text."""

    label: str
    rows: int
    recall: Estimate | None
    precision: Estimate | None


@dataclass(frozen=True, slots=True)
class VersionScores:
    """`coverage` is the share of recorded predictions whose label is known."""

    version: str
    role: str
    requests: int
    answered: int
    errors: dict[str, int]
    error_rate: Estimate | None
    latency: Latency | None
    recorded: int
    labels: int
    coverage: float | None
    label_age: LabelAge | None
    rows: int
    accuracy: Estimate | None
    mae: Estimate | None
    rmse: Estimate | None
    reward: Estimate | None
    classes: tuple[ClassScore, ...]


def scores(version: str, sums: Sums, *, role: str, alpha: float) -> VersionScores:
    """`role` is `contract.evidence.PRIMARY` or `SHADOW`."""
    recorded, labels = sums["recorded"], sums["l"]
    return VersionScores(
        version=version,
        role=ROLE_NAMES[role],
        requests=round(sums["n"]),
        answered=round(sums["ok"]),
        errors={code: round(count) for code, count in sums.errors().items()},
        error_rate=rate(faults(sums), sums["n"], alpha=alpha),
        latency=_latency(sums, alpha=alpha),
        recorded=round(recorded),
        labels=round(labels),
        coverage=min(1.0, labels / recorded) if recorded > 0 else None,
        label_age=_label_age(sums),
        rows=round(sums["rows"]),
        accuracy=accuracy(sums, alpha=alpha),
        mae=absolute_error(sums, alpha=alpha),
        rmse=_root_mean_square_error(sums, alpha=alpha),
        reward=reward(sums, alpha=alpha),
        classes=_classes(sums, alpha=alpha),
    )


def _label_age(sums: Sums) -> LabelAge | None:
    ages = sums.label_ages()
    total = math.fsum(ages.values())
    if total <= 0:
        return None

    def age_s(share: float) -> float:
        seen = 0.0
        for power, count in sorted(ages.items()):
            seen += count
            if seen >= share * total:
                return 2.0**power
        return 2.0 ** max(ages)

    return LabelAge(age_s(0.5), age_s(0.9))


def faults(sums: Sums) -> float:
    """Failures that speak against the version: not what callers did wrong."""
    return math.fsum(count for code, count in sums.errors().items() if is_versions_fault(code))


def has_numbers(sums: Sums) -> bool:
    """Whether labels were compared as numbers, not as classes."""
    return "ae" in sums


def rate(successes: float, n: float, *, alpha: float) -> Estimate | None:
    if n <= 0:
        return None
    successes = min(max(successes, 0.0), n)
    return _estimate(successes / n, rate_interval(successes, n, alpha=alpha), n=n)


def mean(n: float, total: float, squares: float, *, alpha: float) -> Estimate | None:
    if n <= 0:
        return None
    return _estimate(total / n, mean_interval(n, total, squares, alpha=alpha), n=n)


def accuracy(sums: Sums, *, alpha: float) -> Estimate | None:
    return None if has_numbers(sums) else rate(sums["right"], sums["rows"], alpha=alpha)


def absolute_error(sums: Sums, *, alpha: float) -> Estimate | None:
    """The mean absolute error, in the label's own unit."""
    if not has_numbers(sums):
        return None
    return _not_below_zero(mean(sums["rows"], sums["ae"], sums["se"], alpha=alpha))


def reward(sums: Sums, *, alpha: float) -> Estimate | None:
    return mean(sums["rwn"], sums["rw"], sums["rw2"], alpha=alpha)


def _root_mean_square_error(sums: Sums, *, alpha: float) -> Estimate | None:
    if not has_numbers(sums):
        return None
    square = _not_below_zero(mean(sums["rows"], sums["se"], sums["q4"], alpha=alpha))
    if square is None:
        return None
    return Estimate(math.sqrt(square.value), math.sqrt(square.low), math.sqrt(square.high), square.n)


def _latency(sums: Sums, *, alpha: float) -> Latency | None:
    buckets = sums.latency_buckets()
    n = math.fsum(buckets)
    p50, p90, p99 = (latency_quantile(buckets, share, alpha=alpha) for share in (0.5, 0.9, 0.99))
    if p50 is None or p90 is None or p99 is None:
        return None
    return Latency(
        sums["us"] / n,
        *(_estimate(quantile.value_us, quantile.interval, n=n) for quantile in (p50, p90, p99)),
    )


def _classes(sums: Sums, *, alpha: float) -> tuple[ClassScore, ...]:
    labelled: dict[str, float] = {}
    answered: dict[str, float] = {}
    confusion = sums.confusion()
    for (label, output), count in confusion.items():
        labelled[label] = labelled.get(label, 0.0) + count
        answered[output] = answered.get(output, 0.0) + count
    frequent = sorted(labelled, key=lambda label: -labelled[label])[:MAX_CLASSES]
    return tuple(
        ClassScore(
            label=label,
            rows=round(labelled[label]),
            recall=rate(confusion.get((label, label), 0.0), labelled[label], alpha=alpha),
            precision=rate(confusion.get((label, label), 0.0), answered.get(label, 0.0), alpha=alpha),
        )
        for label in sorted(frequent, key=lambda label: (len(label), label))
        if labelled[label] > 0
    )


def _estimate(value: float, interval: Interval, *, n: float) -> Estimate:
    return Estimate(value, interval.low, interval.high, round(n))


def _not_below_zero(estimate: Estimate | None) -> Estimate | None:
    if estimate is None:
        return None
    return Estimate(max(0.0, estimate.value), max(0.0, estimate.low), estimate.high, estimate.n)
