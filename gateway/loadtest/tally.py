"""What one process of the driver counts, in a form that adds up and travels between processes as JSON.

Two durations of each request are kept: `response`, from when it was due (open loop) or sent (closed loop),
and `service`, from when it was sent. Written by the driver, merged by its master, read by `results`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.loadtest.histogram import Histogram

NO_VERSION = ""  # of a request that no version answered


@dataclass(slots=True)
class VersionTally:
    """`scored` answers had a label in the inputs; `measured` of these are numbers, `error_sum` apart."""

    response: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    right: int = 0
    scored: int = 0
    error_sum: float = 0.0
    measured: int = 0
    labels: Counter[str] = field(default_factory=Counter)

    def merge(self, other: "VersionTally") -> None:
        self.response.merge(other.response)
        self.service.merge(other.service)
        self.errors.update(other.errors)
        self.right += other.right
        self.scored += other.scored
        self.error_sum += other.error_sum
        self.measured += other.measured
        self.labels.update(other.labels)

    def to_json(self) -> dict[str, Any]:
        return {
            "response": self.response.to_json(),
            "service": self.service.to_json(),
            "errors": dict(self.errors),
            "right": self.right,
            "scored": self.scored,
            "error_sum": self.error_sum,
            "measured": self.measured,
            "labels": dict(self.labels),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "VersionTally":
        return cls(
            Histogram.from_json(found["response"]),
            Histogram.from_json(found["service"]),
            Counter(found["errors"]),
            found["right"],
            found["scored"],
            found["error_sum"],
            found["measured"],
            Counter(found["labels"]),
        )


@dataclass(slots=True)
class Step:
    """One point in time of the report; requests belong to the step in which they were due."""

    sent: int = 0
    failed: int = 0
    response: Histogram = field(default_factory=Histogram)

    def merge(self, other: "Step") -> None:
        self.sent += other.sent
        self.failed += other.failed
        self.response.merge(other.response)


@dataclass(slots=True)
class Tally:
    """`lag` is from when a request was due and a connection free to when it was sent: the driver's own delay.

    `blocked` requests waited because `max_in_flight` were under way; `unsent` were due and never sent.
    `cpu_s` and `seconds` are by process of the driver, so that one that is a bottleneck is seen among many.
    """

    versions: dict[str, VersionTally] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)
    lag: Histogram = field(default_factory=Histogram)
    sent: int = 0
    blocked: int = 0
    unsent: int = 0
    labels_left_out: int = 0
    last_s: float = 0.0  # when the last answer came
    cpu_s: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)

    def of(self, version: str) -> VersionTally:
        return self.versions.setdefault(version, VersionTally())

    def step(self, number: int) -> Step:
        return self.steps.setdefault(number, Step())

    @property
    def answered(self) -> int:
        return sum(tally.response.n for tally in self.versions.values())

    @property
    def failed(self) -> int:
        return sum(tally.errors.total() for tally in self.versions.values())

    def merge(self, other: "Tally") -> None:
        """Counts are since the last time; CPU and seconds are totals of their process."""
        for version, tally in other.versions.items():
            self.of(version).merge(tally)
        for number, step in other.steps.items():
            self.step(number).merge(step)
        self.lag.merge(other.lag)
        self.sent += other.sent
        self.blocked += other.blocked
        self.unsent += other.unsent
        self.labels_left_out += other.labels_left_out
        self.last_s = max(self.last_s, other.last_s)
        self.cpu_s.update(other.cpu_s)
        self.seconds.update(other.seconds)

    def to_json(self) -> dict[str, Any]:
        return {
            "versions": {version: tally.to_json() for version, tally in self.versions.items()},
            "steps": {
                str(number): [step.sent, step.failed, step.response.to_json()]
                for number, step in self.steps.items()
            },
            "lag": self.lag.to_json(),
            "sent": self.sent,
            "blocked": self.blocked,
            "unsent": self.unsent,
            "labels_left_out": self.labels_left_out,
            "last_s": self.last_s,
            "cpu_s": {str(index): cpu_s for index, cpu_s in self.cpu_s.items()},
            "seconds": {str(index): seconds for index, seconds in self.seconds.items()},
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Tally":
        return cls(
            {version: VersionTally.from_json(tally) for version, tally in found["versions"].items()},
            {
                int(number): Step(sent, failed, Histogram.from_json(response))
                for number, (sent, failed, response) in found["steps"].items()
            },
            Histogram.from_json(found["lag"]),
            found["sent"],
            found["blocked"],
            found["unsent"],
            found["labels_left_out"],
            found["last_s"],
            {int(index): cpu_s for index, cpu_s in found["cpu_s"].items()},
            {int(index): seconds for index, seconds in found["seconds"].items()},
        )
