"""How far apart two versions are, and by which evidence: paired where pairs exist, else unpaired.

Called by `core.evidence.verdict`. Every value is positive where the candidate is better. Which evidence is
used depends on how many labels there are, never on what they say.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.evidence.rates import rate_difference
from gateway.core.evidence.scores import has_numbers
from gateway.core.evidence.statistics import (
    Interval,
    difference,
    mean_interval,
    paired_doubt,
    paired_interval,
)
from gateway.core.evidence.sums import NOTHING, Sums, Table

# Pairs are used once there are this many for each label of the version with fewer labels. Below that (a short
# shadow phase long ago, a canary since) the unpaired labels know more.
PAIRED_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Contrast:
    """`interval(factor)` bounds the difference as if every sum were `factor` times as large.

    `metric` is `accuracy`, `mae` or `reward`; `doubt` is an anytime-valid p-value (paired classes only).
    """

    metric: str
    paired: bool
    baseline_n: float
    candidate_n: float
    value: float
    interval: Callable[[float], Interval]
    doubt: float | None = None

    @property
    def labels(self) -> float:
        return self.baseline_n if self.paired else self.baseline_n + self.candidate_n


def contrast(
    table: Table, baseline: str, candidate: str, *, alpha: float, by: str | None = None
) -> Contrast | str:
    """The difference, or why there is none, in words. `by`: `labels` or `rewards`; None = what there is."""
    first, second = table.both_roles(baseline), table.both_roles(candidate)
    if by is None:
        by = "labels" if first["rows"] > 0 or second["rows"] > 0 else "rewards"
    counted = "rows" if by == "labels" else "rwn"
    labels = {baseline: first[counted], candidate: second[counted]}
    if without := [version for version, count in labels.items() if count <= 0]:
        rest = "".join(f" ({version} has {count:.0f})" for version, count in labels.items() if count > 0)
        return f"no labels yet for {' and '.join(without)}{rest}"
    if counted == "rwn":
        return _unpaired_means("reward", first, second, ("rwn", "rw", "rw2"), alpha=alpha)
    if has_numbers(first) != has_numbers(second):
        return f"{baseline} and {candidate} cannot be compared: one was scored by classes, one by numbers"
    forward = table.paired.get((baseline, candidate), NOTHING)
    backward = table.paired.get((candidate, baseline), NOTHING)
    pairs = forward["rows"] + backward["rows"]
    is_paired = pairs > 0 and pairs >= PAIRED_SHARE * min(first["rows"], second["rows"])
    match is_paired, has_numbers(first):
        case True, True:
            return _paired_means(pairs, forward, backward, alpha=alpha)
        case True, False:
            return _paired_rates(pairs, forward, backward, alpha=alpha)
        case _, True:
            return _unpaired_means("mae", first, second, ("rows", "ae", "se"), alpha=alpha)
        case _:
            return _unpaired_rates(first, second, alpha=alpha)


def _paired_rates(pairs: float, forward: Sums, backward: Sums, *, alpha: float) -> Contrast:
    gained = min(pairs, forward["c"] + backward["b"])
    lost = min(pairs - gained, forward["b"] + backward["c"])
    return Contrast(
        "accuracy",
        paired=True,
        baseline_n=pairs,
        candidate_n=pairs,
        value=(gained - lost) / pairs,
        interval=lambda factor: paired_interval(factor * pairs, factor * gained, factor * lost, alpha=alpha),
        doubt=paired_doubt(pairs, gained, lost),
    )


def _paired_means(pairs: float, forward: Sums, backward: Sums, *, alpha: float) -> Contrast:
    less_error = backward["d"] - forward["d"]
    squares = forward["d2"] + backward["d2"]
    return Contrast(
        "mae",
        paired=True,
        baseline_n=pairs,
        candidate_n=pairs,
        value=less_error / pairs,
        interval=lambda factor: mean_interval(
            factor * pairs, factor * less_error, factor * squares, alpha=alpha
        ),
    )


def _unpaired_rates(first: Sums, second: Sums, *, alpha: float) -> Contrast:
    def right(sums: Sums) -> float:
        return min(sums["right"], sums["rows"])  # odd evidence must not be an error

    def rate(sums: Sums, factor: float) -> tuple[float, float]:
        return factor * right(sums), factor * sums["rows"]

    return Contrast(
        "accuracy",
        paired=False,
        baseline_n=first["rows"],
        candidate_n=second["rows"],
        value=right(second) / second["rows"] - right(first) / first["rows"],
        interval=lambda factor: rate_difference(rate(first, factor), rate(second, factor), alpha=alpha),
    )


def _unpaired_means(
    metric: str, first: Sums, second: Sums, names: tuple[str, str, str], *, alpha: float
) -> Contrast:
    count, total, squares = names
    sign = -1.0 if metric == "mae" else 1.0

    def mean(sums: Sums, factor: float) -> Interval:
        n, of_all = factor * sums[count], sign * factor * sums[total]
        return mean_interval(n, of_all, factor * sums[squares], alpha=alpha / 2)

    return Contrast(
        metric,
        paired=False,
        baseline_n=first[count],
        candidate_n=second[count],
        value=sign * (second[total] / second[count] - first[total] / first[count]),
        interval=lambda factor: difference(mean(first, factor), mean(second, factor)),
    )
