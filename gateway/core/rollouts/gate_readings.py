"""What evidence says about one metric of a candidate: a value, an interval around it, and what it rests on.

A `Reading` is everything `core.rollouts.gates` needs to compare a metric with a bound. Against the baseline
(`margin`) the value is how much *worse* the candidate is: a difference, for latency a factor. Where pairs
exist they are used (`core.evidence.contrast`). A text instead of a reading says what is missing; `Broken`
says what cannot be right.

Every end of an interval holds with probability 1 - alpha at all looks at once, together with the other
choices of evidence made here: paired labels get half of alpha and unpaired ones the other half, because
which of them is used changes while labels arrive.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.contract.evidence import PRIMARY, SHADOW
from gateway.contract.plan import Gate, Metric
from gateway.core.evidence.contrast import Contrast, contrast
from gateway.core.evidence.drift import shift
from gateway.core.evidence.scores import faults, has_numbers
from gateway.core.evidence.statistics import (
    Interval,
    Quantile,
    difference,
    latency_quantile,
    mean_interval,
    rate_interval,
)
from gateway.core.evidence.sums import LARGEST, NOTHING, Sums, Table
from gateway.core.rollouts import gate_words as words

_FORESEEN_OUTPUTS = 12


@dataclass(frozen=True, slots=True)
class Reading:
    """`interval(factor)` bounds the value as if every sum were `factor` times as large. `noun` names the
    observations, `basis` counts them in words. `n` counts the candidate's, `labels` among them all."""

    value: float
    interval: Callable[[float], Interval]
    n: float
    noun: str
    basis: str
    show: words.Show
    may_foresee: bool = True  # False where to estimate what is missing would take long


@dataclass(frozen=True, slots=True)
class Broken(Exception):
    """The evidence cannot be what it should be; `sentence` says how."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Question:
    """Which evidence answers: `table` is the candidate's, `reference` holds the baseline's (another window
    where the baseline answers nothing in this step). `role` is the candidate's role."""

    table: Table
    reference: Table
    baseline: str
    candidate: str
    role: str
    alpha: float

    @property
    def of_candidate(self) -> Sums:
        return self.table.roles.get((self.role, self.candidate), NOTHING)

    @property
    def of_baseline(self) -> Sums:
        return self.reference.roles.get((PRIMARY, self.baseline), NOTHING)


def reading(gate: Gate, asked: Question) -> Reading | str:
    """The reading; a text where nothing can be said yet. Raises Broken."""
    match gate.metric:
        case Metric.ERROR_RATE:
            return _error_rate(gate, asked)
        case Metric.LATENCY:
            return _latency(gate, asked)
        case Metric.ACCURACY | Metric.MAE | Metric.REWARD:
            return _labelled(gate, asked) if gate.margin is None else _contrasted(gate, asked)
        case Metric.AGREEMENT:
            return _agreement(asked)
        case Metric.DRIFT:
            return _drift(asked)
        case _:
            raise ValueError(f"{gate.metric} is not measured by evidence")


def candidates_labels(gate: Gate, table: Table, candidate: str) -> float:
    counted = "rwn" if gate.metric is Metric.REWARD else "rows"
    return table.both_roles(candidate)[counted]


def _error_rate(gate: Gate, asked: Question) -> Reading | str:
    second = _sound(asked.of_candidate, asked.candidate)
    n, failed = second["n"], min(faults(second), second["n"])
    if n <= 0:
        return f"no requests of {asked.candidate} yet"
    if gate.margin is None:
        return Reading(
            failed / n,
            lambda factor: rate_interval(factor * failed, factor * n, alpha=asked.alpha),
            n,
            "requests",
            f"{words.count(n)} requests",
            words.percent,
        )
    first = _sound(asked.of_baseline, asked.baseline)
    m, missed = first["n"], min(faults(first), first["n"])
    if m <= 0:
        return f"no requests of {asked.baseline} to compare with yet"

    def interval(factor: float) -> Interval:
        return difference(
            rate_interval(factor * missed, factor * m, alpha=asked.alpha / 2),
            rate_interval(factor * failed, factor * n, alpha=asked.alpha / 2),
        )

    basis = f"{words.count(n)} requests of {asked.candidate}, {words.count(m)} of {asked.baseline}"
    return Reading(failed / n - missed / m, interval, n, "requests", basis, words.points)


def _latency(gate: Gate, asked: Question) -> Reading | str:
    second = _sound(asked.of_candidate, asked.candidate).latency_buckets()
    n = math.fsum(second)
    if n <= 0:
        return f"no answered requests of {asked.candidate} yet"
    if gate.margin is None:

        def absolute(factor: float) -> Interval:  # one end counts, so each may use all of alpha
            found = _quantile(second, gate.quantile, factor=factor, alpha=2 * asked.alpha).interval
            return Interval(found.low / 1000, found.high / 1000)

        value = _quantile(second, gate.quantile, factor=1.0, alpha=asked.alpha).value_us / 1000
        return Reading(value, absolute, n, "requests", f"{words.count(n)} requests", words.milliseconds)
    first = _sound(asked.of_baseline, asked.baseline).latency_buckets()
    m = math.fsum(first)
    if m <= 0:
        return f"no answered requests of {asked.baseline} to compare with yet"

    def ratio(factor: float) -> Interval:
        slow = _quantile(second, gate.quantile, factor=factor, alpha=asked.alpha).interval
        usual = _quantile(first, gate.quantile, factor=factor, alpha=asked.alpha).interval
        return Interval(
            0.0 if math.isinf(usual.high) else slow.low / usual.high,
            math.inf if usual.low <= 0 else slow.high / usual.low,
        )

    values = [
        _quantile(buckets, gate.quantile, factor=1.0, alpha=asked.alpha).value_us
        for buckets in (first, second)
    ]
    basis = f"{words.count(n)} requests of {asked.candidate}, {words.count(m)} of {asked.baseline}"
    return Reading(values[1] / values[0], ratio, n, "requests", basis, words.times)


def _quantile(buckets: tuple[float, ...], share: float, *, factor: float, alpha: float) -> Quantile:
    found = latency_quantile([factor * count for count in buckets], share, alpha=min(1.0, alpha))
    assert found is not None, "asked only where there are requests"
    return found


def _labelled(gate: Gate, asked: Question) -> Reading | str:
    sums = _sound_in_both_roles(asked.table, asked.candidate)
    if gate.metric is Metric.REWARD:
        return _mean(sums, ("rwn", "rw", "rw2"), "rewards", asked)
    if sums["rows"] <= 0:
        return f"no labels of {asked.candidate} yet"
    _right_kind(gate, has_numbers(sums))
    if gate.metric is Metric.MAE:
        return _mean(sums, ("rows", "ae", "se"), "labels", asked)
    n, right = sums["rows"], min(sums["right"], sums["rows"])
    return Reading(
        right / n,
        lambda factor: rate_interval(factor * right, factor * n, alpha=asked.alpha),
        n,
        "labels",
        f"{words.count(n)} labels",
        words.percent,
    )


def _mean(sums: Sums, names: tuple[str, str, str], noun: str, asked: Question) -> Reading | str:
    n, total, squares = (sums[name] for name in names)
    if n <= 0:
        return f"no {noun} of {asked.candidate} yet"
    return Reading(
        total / n,
        lambda factor: mean_interval(factor * n, factor * total, factor * squares, alpha=asked.alpha),
        n,
        noun,
        f"{words.count(n)} {noun}",
        words.plain,
    )


def _right_kind(gate: Gate, is_numeric: bool) -> None:
    if is_numeric and gate.metric is Metric.ACCURACY:
        raise Broken("labels of this model are numbers: use a gate on mae instead of accuracy")
    if not is_numeric and gate.metric is Metric.MAE:
        raise Broken("labels of this model are classes: use a gate on accuracy instead of mae")


def _contrasted(gate: Gate, asked: Question) -> Reading | str:
    _sound_in_both_roles(asked.table, asked.candidate)
    _sound_in_both_roles(asked.table, asked.baseline)
    for pair in ((asked.baseline, asked.candidate), (asked.candidate, asked.baseline)):
        _sound(asked.table.paired.get(pair, NOTHING), " and ".join(pair))
    found = _contrast(gate, asked, alpha=asked.alpha)
    if isinstance(found, str):
        return found
    if not found.paired:
        found = _contrast(gate, asked, alpha=asked.alpha / 2)
        assert not isinstance(found, str), "alpha does not decide what is there"
    if gate.metric is not Metric.REWARD:
        _right_kind(gate, found.metric == "mae")
    noun = "rewards" if gate.metric is Metric.REWARD else "paired labels" if found.paired else "labels"
    basis = f"{words.count(found.candidate_n)} {noun}"
    if not found.paired:
        basis += f" of {asked.candidate}, {words.count(found.baseline_n)} of {asked.baseline}"

    def worse(factor: float) -> Interval:
        better = found.interval(factor)
        return Interval(-better.high, -better.low)

    return Reading(
        -found.value,
        worse,
        found.candidate_n,
        noun,
        basis,
        words.points if found.metric == "accuracy" else words.plain,
    )


def _contrast(gate: Gate, asked: Question, *, alpha: float) -> Contrast | str:
    by = "rewards" if gate.metric is Metric.REWARD else "labels"
    return contrast(asked.table, asked.baseline, asked.candidate, alpha=alpha, by=by)


def _agreement(asked: Question) -> Reading | str:
    forward = asked.table.agreement.get((asked.baseline, asked.candidate), NOTHING)
    backward = asked.table.agreement.get((asked.candidate, asked.baseline), NOTHING)
    sums = _sound(forward, asked.candidate) + _sound(backward, asked.candidate)
    n, agreed = sums["rows"], min(sums["agree"], sums["rows"])
    if n <= 0:
        return f"no request was answered by both {asked.baseline} and {asked.candidate} yet"
    return Reading(
        agreed / n,
        lambda factor: rate_interval(factor * agreed, factor * n, alpha=asked.alpha),
        n,
        "pairs of answers",
        f"{words.count(n)} pairs of answers",
        words.percent,
    )


def _drift(asked: Question) -> Reading | str:
    usual, present = (
        [asked.table.outputs.get((role, version), {}) for role in (PRIMARY, SHADOW)]
        for version in (asked.baseline, asked.candidate)
    )
    if any(not abs(value) <= LARGEST for part in (*usual, *present) for value in part.values()):
        raise Broken("the recorded outputs hold values that are not numbers")
    found = shift(_added(usual), _added(present))
    if found is None:
        return f"no outputs of both {asked.baseline} and {asked.candidate} yet"
    return Reading(
        found.distance,
        lambda factor: found.interval(alpha=asked.alpha, factor=factor),
        found.current_n,
        "outputs",
        f"{words.count(found.current_n)} outputs of {asked.candidate}, {words.count(found.reference_n)} of"
        f" {asked.baseline}",
        words.plain,
        may_foresee=len(found.bins) <= _FORESEEN_OUTPUTS,
    )


def _added(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    outputs = {output for part in parts for output in part}
    return {output: sum(max(0.0, part.get(output, 0.0)) for part in parts) for output in outputs}


def _sound(sums: Sums, whose: str) -> Sums:
    for statistic, value in sums.values.items():
        if not abs(value) <= LARGEST:
            raise Broken(f"evidence of {whose} is broken: {statistic} is not a number that can be counted")
    return sums


def _sound_in_both_roles(table: Table, version: str) -> Sums:
    """Looked at before they are added: a sum leaves out what is not a number."""
    for role in (PRIMARY, SHADOW):
        _sound(table.roles.get((role, version), NOTHING), version)
    return table.both_roles(version)
