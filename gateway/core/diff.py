"""How do two forms of a route differ, in words that an operator reads?

A difference has a path, the old and the new value (None = absent). Lists are compared by what identifies
their entries (a split and shadows by version, rules by name), so that a new canary is one line and not ten.

Pure. Called by `control` for edits, dry runs, `turnout diff`, histories and conflicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.contract.route import Match, Route, Weight


@dataclass(frozen=True, slots=True)
class Difference:
    path: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        return f"{self.path}: {self.old or 'none'} -> {self.new or 'none'}"


def differences(old: Route | None, new: Route | None) -> tuple[Difference, ...]:
    """Every difference, in the document's order; empty when both say the same.

    Where one side is None, settings that have their default are left out.
    """
    before, after = _told(old), _told(new)
    if old is None or new is None:
        before, after = _beside_defaults(before), _beside_defaults(after)
    paths = [*before, *(path for path in after if path not in before)]
    return tuple(
        Difference(path, before.get(path), after.get(path))
        for path in paths
        if before.get(path) != after.get(path)
    )


def _beside_defaults(told: dict[str, str]) -> dict[str, str]:
    plain = Route(model="any", split=(Weight(version="any", weight=100),))
    usual = _told(plain)
    return {path: value for path, value in told.items() if usual.get(path) != value and path != "model"}


def _told(route: Route | None) -> dict[str, str]:
    """Path -> value, for everything that is set."""
    if route is None:
        return {}
    told: dict[str, Any] = {"model": route.model}
    told |= {f"split.{entry.version}": f"{entry.weight:.10g}" for entry in route.split}
    if route.sticky is not None:
        told["sticky"] = (
            f"header {route.sticky.header}" if route.sticky.header else f"cookie {route.sticky.cookie}"
        )
    for rule in route.rules:
        told[f"rules.{rule.name}"] = f"{in_words(rule.match)} => {_weights(rule.split)}"
    if len(route.rules) > 1:
        told["rules"] = ", ".join(rule.name for rule in route.rules)
    for shadow in route.shadows:
        when = f" where {in_words(shadow.match)}" if shadow.match else ""
        told[f"shadows.{shadow.version}"] = f"{shadow.percent:.10g}{when}"
    if len(route.shadows) > 1:
        told["shadows"] = ", ".join(shadow.version for shadow in route.shadows)
    if route.slots is not None:
        told |= {f"slots.{name}": value for name, value in route.slots.model_dump(exclude_none=True).items()}
    told["fallback"] = route.fallback
    told["timeout_s"] = f"{route.timeout_s:.10g}"
    told |= {f"retry.{name}": f"{value:.10g}" for name, value in route.retry.model_dump().items()}
    if route.hedge is not None:
        told["hedge.after_ms"] = f"{route.hedge.after_ms:.10g}"
    told |= {f"concurrency.{name}": _plain(value) for name, value in route.concurrency.model_dump().items()}
    told["record.output"] = route.record.output
    told["record.percent"] = f"{route.record.percent:.10g}"
    told["record.ttl_s"] = str(route.record.ttl_s)
    if (features := route.record.features) is not None:
        columns = " ".join(map(str, features.columns))
        told["record.features"] = f"{features.input or 'first input'} {columns}, {features.percent:.10g} %"
    if route.record.bodies:
        told["record.bodies"] = "true"
    if route.record.units:
        told["record.units"] = "true"
    if route.record.slices:
        told["record.slices"] = ", ".join(route.record.slices)
    told["record.tolerance"] = f"{route.record.tolerance:.10g}"
    if route.follow is not None:
        told |= {f"follow.{name}": value for name, value in route.follow.model_dump().items()}
    return {path: value for path, value in told.items() if value is not None}


def _plain(value: bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:.10g}"


def in_words(conditions: Sequence[Match]) -> str:
    """`x-tenant = beta and x-debug is present`."""
    return " and ".join(_condition(condition) for condition in conditions)


def _condition(condition: Match) -> str:
    name = condition.header
    if condition.exact is not None:
        return f"{name} = {condition.exact}"
    if condition.prefix is not None:
        return f"{name} starts with {condition.prefix}"
    if condition.regex is not None:
        return f"{name} matches {condition.regex}"
    return f"{name} is {'present' if condition.present else 'absent'}"


def _weights(split: Sequence[Weight]) -> str:
    return " ".join(f"{entry.version}={entry.weight:.10g}" for entry in split)
