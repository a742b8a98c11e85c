"""Plain counters of one process: cheap to raise in the hot path, read by the recorder and by metrics.

A tally belongs to (model, version, role), is made when something is counted first, and lives as long as the
process, so that its numbers only grow.
"""

from collections import Counter, defaultdict
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
    settled: int = 0  # `asked` when the recorder last saw all of them answered or failed, and took it down
    written: dict[str, int | float] = field(default_factory=dict)  # the sums that the recorder took down


@dataclass(slots=True)
class AgreementTally:
    """Answers of one (primary, shadow) to the same requests, row by row."""

    rows: int = 0
    agree: int = 0
    difference: float = 0.0  # sum of absolute differences, of numbers only
    difference2: float = 0.0  # sum of their squares
    written: dict[str, int | float] = field(default_factory=dict)


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
    versions_of: defaultdict[str, list[tuple[str, str, Tally]]] = field(
        default_factory=lambda: defaultdict(list)
    )  # model -> version, role: the same tallies as in `versions`
    agreements_of: defaultdict[str, list[tuple[str, str, AgreementTally]]] = field(
        default_factory=lambda: defaultdict(list)
    )  # model -> primary, shadow: the same as in `agreements`

    slices_of: defaultdict[str, Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )  # model -> field of evidence -> what the recorder has not taken yet

    def of(self, model: str, version: str, role: str) -> Tally:
        key = (model, version, role)
        tally = self.versions.get(key)
        if tally is None:
            tally = self.versions[key] = Tally()
            self.versions_of[model].append((version, role, tally))
        return tally

    def agreement(self, model: str, primary: str, shadow: str) -> AgreementTally:
        key = (model, primary, shadow)
        tally = self.agreements.get(key)
        if tally is None:
            tally = self.agreements[key] = AgreementTally()
            self.agreements_of[model].append((primary, shadow, tally))
        return tally
