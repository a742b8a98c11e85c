"""What happened to one model's requests in a window: how many, how many failed and how, how fast.

The window is the difference of two readings of the same evidence, which holds only sums. Shadows are left
out: this is what clients saw. Pure; called by `control.routing.cutover` and `core.rollouts.rollout_events`
for their reports."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.contract.evidence import PRIMARY
from gateway.core.evidence.statistics import latency_quantile
from gateway.core.evidence.sums import NOTHING, Table, read

Evidence = Mapping[int, Mapping[str, float]]  # minute -> field of `contract.evidence` -> sum


@dataclass(frozen=True, slots=True)
class Traffic:
    """Quantiles are upper bounds of histogram buckets; None without an answered request."""

    requests: int
    failures: dict[str, int]
    requests_by_version: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None


def between(earlier: Evidence, later: Evidence) -> dict[int, dict[str, float]]:
    """What was added from one reading to the next; fields that did not grow are left out."""
    added: dict[int, dict[str, float]] = {}
    for minute, fields in later.items():
        had = earlier.get(minute, {})
        grown = {name: value - had.get(name, 0.0) for name, value in fields.items()}
        added[minute] = {name: value for name, value in grown.items() if value > 0}
    return added


def traffic(evidence: Evidence) -> Traffic:
    """All primaries of the model together."""
    return traffic_in(read(evidence))


def traffic_in(table: Table) -> Traffic:
    """The same of sums that have been read already."""
    total, by_version = NOTHING, {}
    for (role, version), sums in sorted(table.roles.items(), key=lambda item: item[0]):
        if role == PRIMARY:
            total += sums
            by_version[version] = round(sums["n"])
    return Traffic(
        requests=round(total["n"]),
        failures={code: round(count) for code, count in total.errors().items()},
        requests_by_version=by_version,
        p50_ms=_quantile_ms(total.latency_buckets(), 0.5),
        p99_ms=_quantile_ms(total.latency_buckets(), 0.99),
    )


def _quantile_ms(buckets: tuple[float, ...], share: float) -> float | None:
    quantile = latency_quantile(buckets, share, alpha=0.05)
    return None if quantile is None else round(quantile.value_us / 1000, 3)
