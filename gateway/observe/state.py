"""The metrics of one process at one moment, in a form that adds up with those of others.

A process fills a `MetricsState` from its plain counters when it is asked; the parent of the gateway processes
merges what they say. Nothing here keeps time, talks or formats.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson

from gateway.observe.catalogue import CATALOGUE, Kind, Merge, Metric

Key = tuple[str, tuple[str, ...]]  # a metric's name and its label values, in the catalogue's order


@dataclass(slots=True)
class Histogram:
    """`counts` by bucket, not cumulative, the one without upper bound last; `total` is the sum of values."""

    counts: list[int]
    total: float


@dataclass(slots=True)
class MetricsState:
    """Names and labels are checked as they come in: a metric that is not in the catalogue is a bug."""

    counters: dict[Key, float] = field(default_factory=dict)
    gauges: dict[Key, float] = field(default_factory=dict)
    histograms: dict[Key, Histogram] = field(default_factory=dict)

    def count(self, name: str, value: float, *labels: str) -> None:
        """Add to a counter."""
        key = _key(name, Kind.COUNTER, labels)
        self.counters[key] = self.counters.get(key, 0.0) + value

    def gauge(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge, or merge with what was set before as the catalogue says."""
        key = _key(name, Kind.GAUGE, labels)
        self.gauges[key] = _merged_gauge(name, self.gauges[key], value) if key in self.gauges else value

    def histogram(self, name: str, counts: Sequence[int], total: float, *labels: str) -> None:
        """Add buckets (not cumulative, one more than the catalogue's bounds) and the sum of values."""
        key = _key(name, Kind.HISTOGRAM, labels)
        wanted = len(CATALOGUE[name].bounds) + 1
        if len(counts) != wanted:
            raise ValueError(f"{name} has {wanted} buckets, not {len(counts)}")
        present = self.histograms.setdefault(key, Histogram([0] * wanted, 0.0))
        present.counts = [old + new for old, new in zip(present.counts, counts, strict=True)]
        present.total += total

    def without_gauges(self) -> "MetricsState":
        """What remains true of a process that is gone: what it has counted."""
        return MetricsState(self.counters, {}, self.histograms)


def merge(states: Iterable[MetricsState]) -> MetricsState:
    """One state for several processes; the given ones are left as they are."""
    merged = MetricsState()
    for state in states:
        for (name, labels), value in state.counters.items():
            merged.count(name, value, *labels)
        for (name, labels), value in state.gauges.items():
            merged.gauge(name, value, *labels)
        for (name, labels), histogram in state.histograms.items():
            merged.histogram(name, histogram.counts, histogram.total, *labels)
    return merged


class _Wire(msgspec.Struct, forbid_unknown_fields=True):
    """JSON has no tuples as keys: each entry is a list [name, labels, value ...]."""

    process: str
    counters: list[tuple[str, tuple[str, ...], float]]
    gauges: list[tuple[str, tuple[str, ...], float]]
    histograms: list[tuple[str, tuple[str, ...], list[int], float]]


def to_json(process: str, state: MetricsState) -> bytes:
    """`process` names one life of one process: after a restart it is another."""
    document: dict[str, Any] = {
        "process": process,
        "counters": [[name, labels, value] for (name, labels), value in state.counters.items()],
        "gauges": [[name, labels, value] for (name, labels), value in state.gauges.items()],
        "histograms": [
            [name, labels, histogram.counts, histogram.total]
            for (name, labels), histogram in state.histograms.items()
        ],
    }
    return orjson.dumps(document)


def from_json(text: bytes) -> tuple[str, MetricsState]:
    """The process and its state; raises ValueError for anything that `to_json` does not write."""
    try:
        wire = msgspec.json.decode(text, type=_Wire)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a metrics state: {error}") from None
    state = MetricsState()
    for name, labels, value in wire.counters:
        state.count(name, value, *labels)
    for name, labels, value in wire.gauges:
        state.gauge(name, value, *labels)
    for name, labels, counts, total in wire.histograms:
        state.histogram(name, counts, total, *labels)
    return wire.process, state


def _key(name: str, kind: Kind, labels: tuple[str, ...]) -> Key:
    metric: Metric | None = CATALOGUE.get(name)
    if metric is None or metric.kind is not kind:
        raise ValueError(f"there is no {kind} named {name}")
    if len(labels) != len(metric.labels):
        raise ValueError(f"{name} has the labels {metric.labels}, not {labels}")
    return name, labels


def _merged_gauge(name: str, one: float, other: float) -> float:
    match CATALOGUE[name].merge:
        case Merge.SUM:
            return one + other
        case Merge.MAX:
            return max(one, other)
        case Merge.MIN:
            return min(one, other)
