"""Which of many slices are worse than a margin allows, with one error budget for all of them.

A model that is better on the whole may be worse for one country. Asking every slice at 5 % would raise
false alarms with the number of slices; here the chance that any slice is ever accused wrongly is at most
alpha. The k-th slice gets the share 1 / (k (k + 1)) of alpha: all shares together are 1 however many slices
appear later, so nobody must know their number at first. Slices that were found worse pass their share on to
the rest (Holm 1979, weighted; valid at every look because each interval is a confidence sequence).

The order must not depend on how slices do: by first appearance, or as the operator lists them. Called by the
control API for all slices of a model; a gate that names one header has its own budget
(`core.rollouts.gates`).
"""

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from gateway.core.evidence.contrast import contrast
from gateway.core.evidence.statistics import Interval
from gateway.core.evidence.sums import Table

Name = TypeVar("Name", bound=Hashable)

_NOTHING_KNOWN = Interval(-1.0, 1.0)


def worse_in(table: Table, baseline: str, candidate: str, *, alpha: float) -> tuple[tuple[str, str], ...]:
    """The (header, value) of slices in which `candidate` scores worse than `baseline`, the worst first."""

    def interval_in(part: Table) -> Callable[[float], Interval]:
        def at(level: float) -> Interval:
            found = contrast(part, baseline, candidate, alpha=level)
            return _NOTHING_KNOWN if isinstance(found, str) else found.interval(1.0)

        return at

    return worst_slices({of: interval_in(part) for of, part in table.slices.items()}, alpha=alpha)


def worst_slices(
    slices: Mapping[Name, Callable[[float], Interval]], *, alpha: float, margin: float = 0.0
) -> tuple[Name, ...]:
    """Names of slices whose difference is below `-margin`, most deeply so first.

    Each value gives the interval of one slice's difference (positive where the candidate is better) at a
    level of error; a `Contrast` is made at such a level by `core.evidence.contrast.contrast`.
    """
    shares = {name: 1 / (place * (place + 1)) for place, name in enumerate(slices, 1)}
    found: dict[Name, float] = {}
    while True:
        left = 1.0 - sum(shares[name] for name in found)
        more = {
            name: interval.high
            for name, of in slices.items()
            if name not in found and (interval := of(alpha * shares[name] / left)).high < -margin
        }
        if not more:
            return tuple(sorted(found, key=lambda name: found[name]))
        found |= more
        if len(found) == len(slices):
            return tuple(sorted(found, key=lambda name: found[name]))
