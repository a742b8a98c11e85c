"""One metric beside its bound: PASS, FAIL, HOLD or ERROR, and the sentence that tells it with its numbers.

A bound that is kept or broken counts only when the whole interval lies on one side of it. Called by
`core.rollouts.gates`.
"""

import math
from dataclasses import dataclass

from gateway.contract.plan import LABELLED, Gate, Metric
from gateway.contract.rollout import Outcome, Verdict
from gateway.core.evidence.statistics import Interval, needed
from gateway.core.rollouts import gate_words as words
from gateway.core.rollouts.gate_readings import Broken, Question, Reading, candidates_labels, reading


def judge_reading(gate: Gate, asked: Question, *, foresee: bool) -> Verdict:
    """One question to the evidence, answered; `foresee` = estimate what is missing."""
    try:
        found = reading(gate, asked)
    except Broken as broken:
        return verdict_of(gate, Outcome.ERROR, f"{gate.title} could not be measured: {broken.sentence}")
    if isinstance(found, str):
        return _with_maturity(gate, verdict_of(gate, Outcome.HOLD, f"{gate.title}: {found}"))
    labels = candidates_labels(gate, asked.table, asked.candidate)
    if gate.metric in LABELLED and labels < gate.min_labels:
        return _with_maturity(gate, _too_few(gate, found, labels, asked))
    return _with_maturity(gate, _Judged.of(gate, asked, found, foresee=foresee).verdict())


def _with_maturity(gate: Gate, verdict: Verdict) -> Verdict:
    if verdict.outcome is not Outcome.HOLD or gate.metric not in LABELLED or gate.maturity_s <= 0:
        return verdict
    note = f"; predictions of the last {gate.maturity_s:g} s do not count yet"
    return verdict.model_copy(update={"sentence": verdict.sentence + note})


def _too_few(gate: Gate, found: Reading, labels: float, asked: Question) -> Verdict:
    more = math.ceil(gate.min_labels - labels)
    return verdict_of(
        gate,
        Outcome.HOLD,
        f"{gate.title}: {words.count(labels)} of {gate.min_labels:,} labels of {asked.candidate} are there",
        value=found.value,
        observations=round(found.n),
        more=more,
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    """A reading beside its bound, as words."""

    gate: Gate
    asked: Question
    found: Reading
    interval: Interval
    limit: float
    more_is_better: bool
    outcome: Outcome
    more: int | None

    @classmethod
    def of(cls, gate: Gate, asked: Question, found: Reading, *, foresee: bool) -> "_Judged":
        limit, more_is_better = _bound(gate)

        def outcome(factor: float) -> Outcome:
            return _beside(found.interval(factor), limit, more_is_better=more_is_better)

        interval = found.interval(1.0)
        now = _beside(interval, limit, more_is_better=more_is_better)
        more = None
        if now is Outcome.HOLD and foresee and found.may_foresee:
            more = needed(found.n, lambda factor: outcome(factor) is not Outcome.HOLD)
        return cls(
            gate,
            asked,
            found,
            interval,
            limit,
            more_is_better,
            now,
            None if more is None else max(1, math.ceil(more)),
        )

    def verdict(self) -> Verdict:
        values = (self.found.value, self.interval.low, self.interval.high, self.limit)
        if any(math.isnan(value) for value in values) or math.isinf(self.found.value):
            return verdict_of(
                self.gate,
                Outcome.ERROR,
                f"{self.gate.title} could not be measured: its value is not a number",
            )
        return verdict_of(
            self.gate,
            self.outcome,
            self._sentence(),
            value=self.found.value,
            low=self.interval.low,
            high=self.interval.high,
            limit=self.limit,
            observations=round(self.found.n),
            more=self.more,
        )

    def _sentence(self) -> str:
        basis = f"({words.sureness(self.asked.alpha)}, {self.found.basis})"
        subject = f"{self.gate.title} of {self.asked.candidate} is"
        bound = self._bound()
        if self.outcome is not Outcome.HOLD:
            is_above = (self.outcome is Outcome.PASS) == self.more_is_better
            end = self._end(self.interval.low if is_above else self.interval.high, is_floor=is_above)
            return f"{subject} {end} {basis}; {bound}"
        value = self._amount(self.found.value, is_last=True)
        if self.limit == 0 and self._is_difference():
            missing = "only a version that is shown to be better can pass a margin of 0"
        else:
            missing = words.outlook(self.more, noun=self.found.noun)
        return f"not decided: {subject} {value}{self._between()} {basis}; {bound}; {missing}"

    def _between(self) -> str:
        low, high = self.interval.low, self.interval.high
        if math.isinf(low) or math.isinf(high):
            return ""
        return f", between {self._amount(low)} and {self._amount(high)}"

    def _bound(self) -> str:
        word = "at least" if self.more_is_better else "at most"
        verb = "was" if self.outcome is Outcome.FAIL else "is"
        asked = "asked" if self.more_is_better else "allowed"
        limit = self.found.show(self.limit) + (" worse" if self._is_difference() else "")
        return f"{word} {limit} {verb} {asked}"

    def _end(self, value: float, *, is_floor: bool) -> str:
        if self._is_difference() and value < 0:  # "at most -2 worse" is "at least 2 better"
            is_floor = not is_floor
        return f"{'at least' if is_floor else 'at most'} {self._amount(value, is_last=True)}"

    def _amount(self, value: float, *, is_last: bool = False) -> str:
        if self.gate.margin is None:
            return self.found.show(value)
        if not self._is_difference():
            return self.found.show(value) + (f" that of {self.asked.baseline}" if is_last else "")
        if value == 0:
            return f"like that of {self.asked.baseline}" if is_last else "0"
        than = f" than that of {self.asked.baseline}" if is_last else ""
        return f"{self.found.show(abs(value))} {'better' if value < 0 else 'worse'}{than}"

    def _is_difference(self) -> bool:
        return self.gate.margin is not None and self.gate.metric is not Metric.LATENCY


def _bound(gate: Gate) -> tuple[float, bool]:
    """The bound, and whether more is better; against the baseline, less of being worse is better."""
    if gate.margin is not None:
        return gate.margin, False
    if gate.at_least is not None:
        return gate.at_least, True
    assert gate.at_most is not None, "the plan's validation asks for one bound"
    return gate.at_most, False


def _beside(interval: Interval, limit: float, *, more_is_better: bool) -> Outcome:
    low, high = interval.low, interval.high
    if math.isnan(low) or math.isnan(high):
        return Outcome.ERROR
    if more_is_better:
        return Outcome.FAIL if high < limit else Outcome.PASS if low >= limit else Outcome.HOLD
    return Outcome.FAIL if low > limit else Outcome.PASS if high <= limit else Outcome.HOLD


def verdict_of(
    gate: Gate,
    outcome: Outcome,
    sentence: str,
    *,
    value: float | None = None,
    low: float | None = None,
    high: float | None = None,
    limit: float | None = None,
    observations: int = 0,
    more: int | None = None,
) -> Verdict:
    return Verdict(
        gate=gate.title,
        outcome=outcome,
        sentence=sentence,
        value=_finite(value),
        low=_finite(low),
        high=_finite(high),
        limit=_finite(limit),
        observations=observations,
        more=more,
        blocks=gate.blocks,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
