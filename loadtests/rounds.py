"""Rounds of measurements, and what they say together: medians, and ratios taken within each round.

Systems are measured in turn, round after round, so that what a machine does besides hits all of them alike; a
ratio is formed within its round, and the median of these ratios is the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Measurement:
    """One system in one round. `cpu_us` is user + system time per answered request of the system alone.

    `parts_us` are the parts of `cpu_us`, by process tree. `upstream_requests` is how many requests reached
    the backend per request: 2 with one shadow, if none was dropped. `elsewhere_cores` is how much CPU the
    machine spent on nothing of this benchmark.
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
    parts_us: Mapping[str, float]
    upstream_requests: float
    redis_us: float
    elsewhere_cores: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians over the rounds, and two ratios of CPU per request, each None where it would be to itself.

    `ratio` is what this system costs in reference systems; `turnout_ratio` what Turnout costs in this one.
    """

    scenario: str
    system: str
    rounds: int
    failed: int
    cpu_us: float
    cpu_us_least: float
    cpu_us_most: float
    user_us: float
    system_us: float
    parts_us: Mapping[str, float]
    ratio: float | None
    turnout_ratio: float | None
    per_second: float
    p50_us: float
    p99_us: float
    upstream_requests: float
    redis_us: float
    elsewhere_cores: float


def summarise(
    measurements: Sequence[Measurement], *, reference: str, subject: str = "turnout"
) -> list[Summary]:
    """One summary for each scenario and system, in the order of their first measurements."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for measurement in measurements:
        groups.setdefault((measurement.scenario, measurement.system), []).append(measurement)

    def ratio(scenario: str, above: str, below: str) -> float | None:
        if above == below:
            return None
        return ratio_within_rounds(groups.get((scenario, above), ()), groups.get((scenario, below), ()))

    return [
        _summary(
            group,
            ratio=ratio(scenario, system, reference),
            turnout_ratio=ratio(scenario, subject, system),
        )
        for (scenario, system), group in groups.items()
    ]


def ratio_within_rounds(above: Sequence[Measurement], below: Sequence[Measurement]) -> float | None:
    """`above`'s CPU per request as a multiple of `below`'s in the same round: the median, if there is one."""
    of_round = {measurement.round: measurement.cpu_us for measurement in below}
    ratios = [found.cpu_us / of_round[found.round] for found in above if of_round.get(found.round)]
    return median(ratios) if ratios else None


def _summary(group: Sequence[Measurement], *, ratio: float | None, turnout_ratio: float | None) -> Summary:
    costs = [found.cpu_us for found in group]
    return Summary(
        scenario=group[0].scenario,
        system=group[0].system,
        rounds=len(group),
        failed=sum(found.failed for found in group),
        cpu_us=median(costs),
        cpu_us_least=min(costs),
        cpu_us_most=max(costs),
        user_us=median(found.user_us for found in group),
        system_us=median(found.system_us for found in group),
        parts_us={name: median(found.parts_us[name] for found in group) for name in group[0].parts_us},
        ratio=ratio,
        turnout_ratio=turnout_ratio,
        per_second=median(found.per_second for found in group),
        p50_us=median(found.p50_us for found in group),
        p99_us=median(found.p99_us for found in group),
        upstream_requests=median(found.upstream_requests for found in group),
        redis_us=median(found.redis_us for found in group),
        elsewhere_cores=median(found.elsewhere_cores for found in group),
    )


def table(summaries: Sequence[Summary], *, reference: str) -> str:
    """For people. `turnout ÷ it`: what Turnout costs as a multiple of this system."""
    lines = [
        f"{'scenario':<14} {'system':<14} {'CPU µs/request':>22} {'user + system':>15} "
        f"{'× ' + reference:>9} {'turnout ÷ it':>12} {'requests/s':>10} {'p50 ms':>7} {'p99 ms':>7} "
        f"{'upstream':>8} {'Redis µs':>8} {'elsewhere':>9}"
    ]
    for found in summaries:
        spread = f"{found.cpu_us:.1f} ({found.cpu_us_least:.1f}-{found.cpu_us_most:.1f})"
        parts = f"{found.user_us:.1f} + {found.system_us:.1f}"
        lines.append(
            f"{found.scenario:<14} {found.system:<14} {spread:>22} {parts:>15} "
            f"{_times(found.ratio):>9} {_times(found.turnout_ratio):>12} {found.per_second:>10,.0f} "
            f"{found.p50_us / 1000:>7.2f} {found.p99_us / 1000:>7.2f} "
            f"{_known(found.upstream_requests, 2):>8} {_known(found.redis_us, 1):>8} "
            f"{found.elsewhere_cores:>9.2f}" + (f"  {found.failed} FAILED" if found.failed else "")
        )
    for found in summaries:
        if len(found.parts_us) > 1:
            parts = ", ".join(f"{name} {cost:.1f}" for name, cost in found.parts_us.items())
            lines.append(f"{found.scenario}, {found.system}: {parts} µs/request")
    return "\n".join(lines)


def _known(number: float, digits: int) -> str:
    """A dash for a backend or a Redis that a system does not have."""
    return f"{number:.{digits}f}" if number else "–"


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}"
