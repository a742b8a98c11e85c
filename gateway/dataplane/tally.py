"""Plain counters of one process: cheap to raise in the hot path, read by the recorder and by metrics.

A tally belongs to (model, version, role) and lives as long as the process, so that its numbers only grow.
"""

from collections import Counter
from dataclasses import dataclass, field

from gateway.contract.latency import BUCKETS


@dataclass(slots=True)
class Tally:
    """`asked` = answered + the sum of `errors`; latency is of answered predictions, in µs."""

    asked: int = 0
    answered: int = 0
    latency_us: float = 0.0
    latency: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    errors: Counter[str] = field(default_factory=Counter)
    recorded: int = 0


@dataclass(slots=True)
class AgreementTally:
    """Answers of one (primary, shadow) to the same requests, row by row."""

    rows: int = 0
    agree: int = 0
    difference: float = 0.0  # sum of absolute differences, of numbers only
    difference2: float = 0.0  # sum of their squares


@dataclass(slots=True)
class Tallies:
    """Everything that one process counts."""

    versions: dict[tuple[str, str, str], Tally] = field(default_factory=dict)  # model, version, role
    agreements: dict[tuple[str, str, str], AgreementTally] = field(default_factory=dict)
    retries: Counter[tuple[str, str]] = field(default_factory=Counter)  # model, version
    hedges: Counter[tuple[str, str]] = field(default_factory=Counter)  # model, version
    fallbacks: Counter[str] = field(default_factory=Counter)  # model
    shadow_dropped: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # model, version, why
    rejected: Counter[str] = field(default_factory=Counter)  # error code, before any version was chosen
    feedback: Counter[tuple[str, str]] = field(default_factory=Counter)  # model, result
    client_gone: int = 0

    def of(self, model: str, version: str, role: str) -> Tally:
        key = (model, version, role)
        tally = self.versions.get(key)
        if tally is None:
            tally = self.versions[key] = Tally()
        return tally

    def agreement(self, model: str, primary: str, shadow: str) -> AgreementTally:
        key = (model, primary, shadow)
        tally = self.agreements.get(key)
        if tally is None:
            tally = self.agreements[key] = AgreementTally()
        return tally
