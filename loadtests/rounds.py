"""Rounds of measurements, and what they say together: medians, and ratios taken within each round.

Systems are measured in turn, round after round, so that what a machine does besides hits all of them alike; a
ratio is formed within its round, and the median of these ratios is the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Measurement:
    """One system in one round. `cpu_us` is user + system time per answered request of the system alone.

    `upstream_requests` is how many requests reached the backend per request: 2 with one shadow, if none was
    dropped. `elsewhere_cores` is how much CPU the machine spent on nothing of this benchmark.
    """

    scenario: str
    system: str
    round: int
    requests: int
    failed: int
    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float
    user_us: float
    system_us: float
    upstream_requests: float
    redis_us: float
    elsewhere_cores: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians over the rounds; `ratio` is to the reference system, None for the reference itself."""

    scenario: str
    system: str
    rounds: int
    failed: int
    cpu_us: float
    cpu_us_least: float
    cpu_us_most: float
    ratio: float | None
    per_second: float
    p50_us: float
    p99_us: float
    upstream_requests: float
    redis_us: float
    elsewhere_cores: float


def summarise(measurements: Sequence[Measurement], *, reference: str) -> list[Summary]:
    """One summary for each scenario and system, in the order of their first measurements."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for measurement in measurements:
        groups.setdefault((measurement.scenario, measurement.system), []).append(measurement)
    return [
        _summary(group, groups.get((scenario, reference), []) if system != reference else [])
        for (scenario, system), group in groups.items()
    ]


def _summary(group: Sequence[Measurement], reference: Sequence[Measurement]) -> Summary:
    of_round = {measurement.round: measurement.cpu_us for measurement in reference}
    ratios = [found.cpu_us / of_round[found.round] for found in group if of_round.get(found.round)]
    costs = [found.cpu_us for found in group]
    return Summary(
        scenario=group[0].scenario,
        system=group[0].system,
        rounds=len(group),
        failed=sum(found.failed for found in group),
        cpu_us=median(costs),
        cpu_us_least=min(costs),
        cpu_us_most=max(costs),
        ratio=median(ratios) if ratios else None,
        per_second=median(found.per_second for found in group),
        p50_us=median(found.p50_us for found in group),
        p99_us=median(found.p99_us for found in group),
        upstream_requests=median(found.upstream_requests for found in group),
        redis_us=median(found.redis_us for found in group),
        elsewhere_cores=median(found.elsewhere_cores for found in group),
    )


def table(summaries: Sequence[Summary], *, reference: str) -> str:
    """For people."""
    lines = [
        f"{'scenario':<14} {'system':<18} {'CPU µs/request':>22} {'× ' + reference:>10} {'requests/s':>11} "
        f"{'p50 ms':>8} {'p99 ms':>8} {'upstream':>9} {'Redis µs':>9} {'elsewhere':>10}"
    ]
    for found in summaries:
        spread = f"{found.cpu_us:.1f} ({found.cpu_us_least:.1f}-{found.cpu_us_most:.1f})"
        ratio = "1" if found.ratio is None else f"{found.ratio:.2f}"
        lines.append(
            f"{found.scenario:<14} {found.system:<18} {spread:>22} {ratio:>10} {found.per_second:>11,.0f} "
            f"{found.p50_us / 1000:>8.2f} {found.p99_us / 1000:>8.2f} {found.upstream_requests:>9.2f} "
            f"{found.redis_us:>9.1f} {found.elsewhere_cores:>10.2f}"
            + (f"  {found.failed} FAILED" if found.failed else "")
        )
    return "\n".join(lines)
