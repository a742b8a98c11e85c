"""How a result differs from that of an earlier run, and which differences chance alone would make.

A latency's quantile has the interval that its rank allows, a share a confidence sequence; where those of both
runs overlap, the difference is said to be noise. Two runs differ in more than chance (another machine, other
work on it): a difference is a reason to measure again, not a proof. Pure; called by the command.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.evidence.statistics import Interval, rate_interval
from gateway.loadtest.results import FORMAT

ALPHA = 0.05
_QUANTILES = ("p50", "p90", "p99")


@dataclass(frozen=True, slots=True)
class Change:
    """`is_certain` is None where nothing says how sure the numbers are."""

    what: str
    version: str | None
    before: float
    now: float
    is_certain: bool | None

    @property
    def ratio(self) -> float | None:
        return self.now / self.before if self.before else None


def check(found: object) -> Mapping[str, Any]:
    """A result of `turnout loadtest --json`; ValueError says why it is none."""
    if not isinstance(found, dict) or "turnout_loadtest" not in found:
        raise ValueError("not the result of a load test: give result.json of its --out folder")
    if found["turnout_loadtest"] != FORMAT:
        raise ValueError(f"a result of another format ({found['turnout_loadtest']}): run it again")
    return found


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What was not the same in both runs, so that their numbers differ for that reason too."""
    pairs = [
        ("model", before["model"], now["model"]),
        ("pinned version", before["pinned"], now["pinned"]),
        ("loop", before["scenario"]["loop"], now["scenario"]["loop"]),
        ("phases", before["scenario"]["phases"], now["scenario"]["phases"]),
        ("scale", before["scale"], now["scale"]),
        ("think time", before["scenario"]["think_s"], now["scenario"]["think_s"]),
        ("processes", before["processes"], now["processes"]),
    ]
    return [name for name, then, at_last in pairs if then != at_last]


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Of everything, then of each version that answered in both."""
    found = list(_changes(before, now, None))
    earlier = {row["version"]: row for row in before["versions"]}
    for row in now["versions"]:
        if row["version"] in earlier:
            found += _changes(earlier[row["version"]], row, row["version"])
    return found


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], version: str | None) -> Iterator[Change]:
    if version is None:
        yield Change("answered/s", None, before["rate"]["answered"], now["rate"]["answered"], None)
    yield Change(
        "error_rate", version, before["error_rate"], now["error_rate"],
        _apart(_failures(before), _failures(now)),
    )  # fmt: skip
    if before["latency_ms"] is not None and now["latency_ms"] is not None:
        for name in _QUANTILES:
            then, at_last = (run["latency_ms"]["between"][name] for run in (before, now))
            is_certain = then[1] < at_last[0] or at_last[1] < then[0]
            yield Change(
                f"{name} ms", version, before["latency_ms"][name], now["latency_ms"][name], is_certain
            )
    if before["accuracy"] is not None and now["accuracy"] is not None:
        yield Change(
            "accuracy", version, before["accuracy"], now["accuracy"], _apart(_right(before), _right(now))
        )
    if before["mae"] is not None and now["mae"] is not None:
        yield Change("mae", version, before["mae"], now["mae"], None)


def _failures(run: Mapping[str, Any]) -> Interval:
    answered = run["requests"]["answered"] if isinstance(run["requests"], Mapping) else run["requests"]
    failed = sum(run["errors"].values())
    return rate_interval(failed, answered + failed, alpha=ALPHA)


def _right(run: Mapping[str, Any]) -> Interval:
    return rate_interval(round(run["accuracy"] * run["scored"]), run["scored"], alpha=ALPHA)


def _apart(one: Interval, other: Interval) -> bool:
    return one.high < other.low or other.high < one.low
