"""Which version is better, and how sure that is: a model's evidence laid side by side.

Called by the control API (`turnout compare`) with the minutes of evidence of one model. The baseline is the
first of the versions asked for, else the primary with the most requests; every other version gets a verdict
against it, in one plain sentence.

Where a shadow answered the same requests as the primary, one label scored both and the difference is
*paired*: far fewer labels decide. Else the labels of both roles of each version are compared unpaired. Which
of the two is used depends on how many labels there are, never on what they say. Unpaired numbers compare the
versions only as far as chance split the requests: rules and pins give versions different requests.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gateway.contract.evidence import PRIMARY, SHADOW
from gateway.core.evidence.scores import Estimate, VersionScores, mean, rate, scores
from gateway.core.evidence.sums import NOTHING, Table, read
from gateway.core.evidence.verdict import Verdict, judge

__all__ = ["Agreement", "Comparison", "Verdict", "compare", "to_json"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often a shadow's recorded answer equals the primary's; for numbers also how far apart they are."""

    primary: str
    shadow: str
    rows: int
    share: Estimate | None
    mean_difference: Estimate | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`alpha` is the chance of error of each single interval; `baseline` is None without any evidence."""

    alpha: float
    baseline: str | None
    versions: tuple[VersionScores, ...]
    agreements: tuple[Agreement, ...]
    verdicts: tuple[Verdict, ...]


def compare(
    evidence: Mapping[int, Mapping[str, float]],
    *,
    versions: Sequence[str] | None = None,
    alpha: float = 0.05,
    margin: float = 0.0,
) -> Comparison:
    """`evidence` is minute -> field of `contract.evidence` -> sum; `versions` restricts and orders.

    `margin` is how much worse than the baseline a version may be, in the unit of its metric.
    """
    return compare_table(read(evidence), versions=versions, alpha=alpha, margin=margin)


def compare_table(
    table: Table, *, versions: Sequence[str] | None = None, alpha: float = 0.05, margin: float = 0.0
) -> Comparison:
    """The same of sums that are read already: of a slice, for instance."""
    chosen = list(dict.fromkeys(versions)) if versions else _all_versions(table)
    baseline = chosen[0] if versions else _busiest(table, chosen)
    return Comparison(
        alpha=alpha,
        baseline=baseline,
        versions=_rows(table, chosen, alpha=alpha),
        agreements=_agreements(table, chosen, alpha=alpha),
        verdicts=tuple(
            judge(table, baseline, version, alpha=alpha, margin=margin)
            for version in chosen
            if baseline is not None and version != baseline
        ),
    )


def to_json(found: Any) -> dict[str, Any]:
    """A result of these modules as plain values for JSON; an end that nothing bounds is null."""
    plain = _finite(asdict(found))
    assert isinstance(plain, dict)
    return plain


def _all_versions(table: Table) -> list[str]:
    return sorted({version for _, version in table.roles}, key=_natural)


def _natural(version: str) -> tuple[int, int, str]:
    return (0, int(version), "") if version.isdecimal() else (1, 0, version)


def _busiest(table: Table, versions: Sequence[str]) -> str | None:
    def requests(version: str) -> tuple[float, float]:
        return table.roles.get((PRIMARY, version), NOTHING)["n"], table.both_roles(version)["n"]

    return max(versions, key=requests, default=None)


def _rows(table: Table, versions: Sequence[str], *, alpha: float) -> tuple[VersionScores, ...]:
    rows = []
    for version in versions:
        roles = [role for role in (PRIMARY, SHADOW) if (role, version) in table.roles]
        rows += [
            scores(version, table.roles.get((role, version), NOTHING), role=role, alpha=alpha)
            for role in roles or [PRIMARY]
        ]
    return tuple(rows)


def _agreements(table: Table, versions: Sequence[str], *, alpha: float) -> tuple[Agreement, ...]:
    found = []
    for primary in versions:
        for shadow in versions:
            sums = table.agreement.get((primary, shadow))
            if sums is None or sums["rows"] <= 0:
                continue
            rows = sums["rows"]
            apart = mean(rows, sums["d"], sums["d2"], alpha=alpha) if "d" in sums else None
            share = rate(sums["agree"], rows, alpha=alpha)
            found.append(Agreement(primary, shadow, round(rows), share, apart))
    return tuple(found)


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
