"""How versions did over time: running estimates, each with the confidence sequence of all up to then.

Since the sequence holds at every look at once, its band may be drawn and read as it grows: with probability
1 - alpha the truth lies inside at every point of a line. Called by the control API for pictures.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.core.evidence.scores import Estimate, absolute_error, accuracy, reward, scores
from gateway.core.evidence.sums import NOTHING, Sums, Table, read

MS_PER_MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class Point:
    """`value`, `low`, `high`: of everything up to the end of this step; the rest is the step's own."""

    at_ms: int
    value: float | None
    low: float | None
    high: float | None
    labels: int
    coverage: float | None
    requests: int
    errors: int
    p50_us: float | None
    p99_us: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """`metric`: accuracy, mae or reward, whichever the version's labels give."""

    version: str
    metric: str
    points: tuple[Point, ...]


def series(
    evidence: Mapping[int, Mapping[str, float]], *, step_minutes: int, alpha: float = 0.05
) -> tuple[Line, ...]:
    """`evidence` as the store gives it: minute (or first minute of an hour) -> field -> sum; both roles."""
    steps = [(minute, read(part)) for minute, part in _steps(evidence, step_minutes)]
    versions = sorted({version for _, table in steps for _, version in table.roles})
    return tuple(_line(version, steps, alpha=alpha) for version in versions)


def _steps(
    evidence: Mapping[int, Mapping[str, float]], step_minutes: int
) -> Iterator[tuple[int, dict[int, Mapping[str, float]]]]:
    part: dict[int, Mapping[str, float]] = {}
    first = 0
    for minute in sorted(evidence):
        if part and minute >= first + step_minutes:
            yield first, part
            part = {}
        first = first if part else minute
        part[minute] = evidence[minute]
    if part:
        yield first, part


def _line(version: str, steps: list[tuple[int, Table]], *, alpha: float) -> Line:
    points, so_far, metric = [], NOTHING, "accuracy"
    for minute, table in steps:
        own = table.both_roles(version)
        so_far += own
        metric, found = _estimate(so_far, alpha=alpha)
        told = scores(version, own, role="p", alpha=alpha)
        points.append(
            Point(
                at_ms=minute * MS_PER_MINUTE,
                value=None if found is None else found.value,
                low=None if found is None else found.low,
                high=None if found is None else found.high,
                labels=round(so_far["l"]),
                coverage=told.coverage,
                requests=told.requests,
                errors=sum(told.errors.values()),
                p50_us=None if told.latency is None else told.latency.p50_us.value,
                p99_us=None if told.latency is None else told.latency.p99_us.value,
            )
        )
    return Line(version, metric, tuple(points))


def _estimate(sums: Sums, *, alpha: float) -> tuple[str, Estimate | None]:
    if (error := absolute_error(sums, alpha=alpha)) is not None:
        return "mae", error
    if sums["rows"] <= 0 and (paid := reward(sums, alpha=alpha)) is not None:
        return "reward", paid
    return "accuracy", accuracy(sums, alpha=alpha)
