"""Is the candidate better than the baseline, and how sure is that: one pair of versions, one sentence.

Called by `core.evidence.compare`. A verdict is decided only when the confidence sequence of the difference
excludes 0; otherwise it says what is missing and about how many more labels are expected to be needed. With a
margin the question is another one: is the candidate not worse than the baseline by more than the margin.
"""

import math
from dataclasses import dataclass

from gateway.core.evidence.contrast import Contrast, contrast
from gateway.core.evidence.scores import Estimate
from gateway.core.evidence.statistics import Interval, needed
from gateway.core.evidence.sums import Table

_NOUNS = {"accuracy": "accuracy", "mae": "mean absolute error", "reward": "mean reward"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`difference` is positive where the candidate is better, whatever the metric: an error counts negative.

    `better` is None while it is not decided. `doubt` is an anytime-valid p-value, given for paired classes.
    `more_labels` is an estimate, None where there is nothing to estimate it from. `margin` is in the unit of
    the metric (0.01: one point of accuracy); `within_margin` answers for it, None while that is undecided.
    """

    baseline: str
    candidate: str
    metric: str | None
    better: str | None
    difference: Estimate | None
    paired: bool
    baseline_labels: int
    candidate_labels: int
    doubt: float | None
    more_labels: int | None
    margin: float
    within_margin: bool | None
    sentence: str


def judge(table: Table, baseline: str, candidate: str, *, alpha: float, margin: float = 0.0) -> Verdict:
    """The verdict about two versions of one model; `margin` >= 0 is how much worse the candidate may be."""
    found = contrast(table, baseline, candidate, alpha=alpha)
    if isinstance(found, str):
        return _undecidable(table, baseline, candidate, margin=margin, sentence=found)
    interval = found.interval(1.0)
    leader, other = (candidate, baseline) if found.value > 0 else (baseline, candidate)
    is_decided = interval.excludes(0.0)
    within = _within(interval, margin)
    more = None
    if (within is None if margin > 0 else not is_decided) and found.value != -margin:
        more = needed(found.labels, lambda factor: found.interval(factor).excludes(-margin))
    basis = _basis(found, interval, baseline, candidate, alpha=alpha)
    size = f"{_number(found, abs(found.value), interval)} {_unit(found)}"
    if margin > 0:
        sentence = _at_margin(found, baseline, candidate, margin=margin, within=within)
        sentence += f" ({'ahead' if found.value > 0 else 'behind'} by {size}; {basis})"
        sentence += "" if within is not None else f"; {_outlook(more)}"
    elif is_decided:
        sentence = f"{leader} is better than {other} by {size} ({basis})"
    elif found.value == 0:
        sentence = f"not decided: {candidate} and {baseline} are level in {_NOUNS[found.metric]} ({basis})"
    else:
        sentence = f"not decided: {leader} is ahead of {other} by {size} ({basis}); {_outlook(more)}"
    return Verdict(
        baseline=baseline,
        candidate=candidate,
        metric=found.metric,
        better=leader if is_decided else None,
        difference=Estimate(found.value, interval.low, interval.high, round(found.labels)),
        paired=found.paired,
        baseline_labels=round(found.baseline_n),
        candidate_labels=round(found.candidate_n),
        doubt=found.doubt,
        more_labels=None if more is None else math.ceil(more),
        margin=margin,
        within_margin=within,
        sentence=sentence,
    )


def _within(interval: Interval, margin: float) -> bool | None:
    if interval.low > -margin:
        return True
    return False if interval.high < -margin else None


def _at_margin(found: Contrast, baseline: str, candidate: str, *, margin: float, within: bool | None) -> str:
    size = f"{100 * margin if found.metric == 'accuracy' else margin:g} {_unit(found)}"
    size = size.replace("1 points", "1 point") if size.startswith("1 ") else size
    says = {True: "is not worse", False: "is worse", None: "may be worse"}[within]
    start = "not decided: " if within is None else ""
    return f"{start}{candidate} {says} than {baseline} by more than {size}"


def _undecidable(table: Table, baseline: str, candidate: str, *, margin: float, sentence: str) -> Verdict:
    return Verdict(
        baseline=baseline,
        candidate=candidate,
        metric=None,
        better=None,
        difference=None,
        paired=False,
        baseline_labels=round(table.both_roles(baseline)["rows"]),
        candidate_labels=round(table.both_roles(candidate)["rows"]),
        doubt=None,
        more_labels=None,
        margin=margin,
        within_margin=None,
        sentence=sentence,
    )


def _basis(found: Contrast, interval: Interval, baseline: str, candidate: str, *, alpha: float) -> str:
    """The interval, from the leader's side, and what it rests on."""
    low, high = (-interval.high, -interval.low) if found.value <= 0 else (interval.low, interval.high)
    if found.paired:
        labels = f"{found.baseline_n:.0f} paired labels"
    else:
        labels = f"{found.baseline_n:.0f} labels of {baseline}, {found.candidate_n:.0f} of {candidate}"
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"too few labels for an interval, {labels}"
    bounds = f"{_number(found, low, interval)} to {_number(found, high, interval)}"
    return f"{100 * (1 - alpha):g} % interval {bounds}, {labels}"


def _outlook(more: float | None) -> str:
    if more is None:
        return "how many more labels are needed cannot be told yet"
    count = max(1, math.ceil(more))
    step: int = 10 ** max(0, len(str(count)) - 2)  # two digits: the rest of an estimate is noise
    return f"about {math.ceil(count / step) * step:,} more labels are expected to be needed"


def _unit(found: Contrast) -> str:
    return ("points of " if found.metric == "accuracy" else "in ") + _NOUNS[found.metric]


def _number(found: Contrast, value: float, interval: Interval) -> str:
    if found.metric != "accuracy":
        return f"{value:.3g}"
    return f"{100 * value:.{2 if interval.high - interval.low < 0.01 else 1}f}"
