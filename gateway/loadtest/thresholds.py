"""Conditions on a result under which a load test fails: `p99>20ms`, `error_rate>0.1%`, `accuracy[2]<0.95`.

What could not be measured counts as failed: a check must not pass because nothing was there to check. Pure;
called by the command, which turns a failure into exit code 1.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.loadtest.results import QUANTILES

LATENCIES = (*QUANTILES, "mean", "max")
OTHERS = ("error_rate", "errors", "accuracy", "mae", "rate", "requests", "unsent")
_TESTS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_TO_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_FORM = re.compile(
    r"\s*([a-z_]+[0-9.]*)\s*(?:\[([^\[\]]+)\])?\s*(>=|<=|>|<)\s*([0-9]*\.?[0-9]+)\s*(us|ms|s|%)?\s*"
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """`limit` in milliseconds for a latency, else a share or a number."""

    text: str
    metric: str
    version: str | None
    test: str
    limit: float

    def judge(self, found: Mapping[str, Any]) -> tuple[bool, str]:
        """Whether it fails, and a sentence with the number."""
        value = _value(found, self.metric, self.version)
        if value is None:
            return True, f"{self.text}: could not be measured"
        is_failed = _TESTS[self.test](value, self.limit)
        return is_failed, f"{self.text}: {self.metric} was {_said(self.metric, value)}"


def parse(text: str) -> Threshold:
    """ValueError says what is wrong."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(
            f"{text!r} is no condition such as 'p99>20ms', 'error_rate>0.1%' or 'accuracy[2]<0.95'"
        )
    metric, version, test, number, unit = form.groups()
    limit = float(number)
    if metric in LATENCIES:
        if unit not in _TO_MS:
            raise ValueError(f"{text!r}: a latency needs a unit: us, ms or s")
        limit *= _TO_MS[unit]
    elif metric not in OTHERS:
        raise ValueError(f"{text!r}: {metric} is not one of {', '.join((*LATENCIES, *OTHERS))}")
    elif unit == "%":
        limit /= 100
    elif unit is not None:
        raise ValueError(f"{text!r}: {metric} has no unit, or %")
    return Threshold(text.strip(), metric, version, test, limit)


def _value(found: Mapping[str, Any], metric: str, version: str | None) -> float | None:
    if version is not None:
        of_version = next((row for row in found["versions"] if row["version"] == version), None)
        if of_version is None:
            return None
        if metric == "rate":
            return float(of_version["requests"] / found["seconds"]) if found["seconds"] else None
        if metric == "unsent":
            return None
        found = {**of_version, "requests": {"answered": of_version["requests"]}}
    match metric:
        case "errors":
            return float(sum(found["errors"].values()))
        case "error_rate" if not found["requests"]["answered"] and not found["errors"]:
            return None
        case "error_rate" | "accuracy" | "mae":
            return None if found[metric] is None else float(found[metric])
        case "rate":
            return float(found["rate"]["answered"])
        case "requests":
            return float(found["requests"]["answered"])
        case "unsent":
            return float(found["requests"]["unsent"])
        case _:
            return None if found["latency_ms"] is None else float(found["latency_ms"][metric])


def _said(metric: str, value: float) -> str:
    if metric in LATENCIES:
        return f"{value:.3g} ms"
    return f"{value:.3%}" if metric in ("error_rate", "accuracy") else f"{value:.6g}"
