"""What a prediction's record says, read with the route at the revision that decided.

A record names a rule by its position, and the request's unit not at all: `reason_of` gives the rule its name,
and `check_unit` says whether a unit that somebody remembers leads to the version that answered.

Must not know: Redis, HTTP. Called by the control API.
"""

from dataclasses import dataclass

from gateway.contract.route import Route
from gateway.core.decide import CompiledRoute
from gateway.core.split import Distance, Split, by_unit, distances


@dataclass(frozen=True, slots=True)
class UnitCheck:
    """`version`: where the unit leads (None where units decided nothing); `agrees` None = cannot be told."""

    unit: str
    version: str | None
    agrees: bool | None
    sentence: str
    distances: tuple[Distance, ...] = ()


def reason_of(route: Route | None, *, reason: str | None, rule: int | None) -> str | None:
    """As the reply said it; `rule:#3` where the route that would name rule 3 is not known any more."""
    if rule is None:
        return reason
    is_named = route is not None and rule < len(route.rules)
    return f"rule:{route.rules[rule].name}" if is_named and route is not None else f"rule:#{rule}"


def check_unit(
    compiled: CompiledRoute, unit: str, *, reason: str | None, rule: int | None, version: str
) -> UnitCheck:
    """`reason`, `rule` and `version` are the record's; `compiled` is the route at its revision."""
    revision = compiled.revision
    if reason == "pin":
        return UnitCheck(unit, None, None, "the request named its version: no unit decided")
    if compiled.unit_of is None:
        return UnitCheck(
            unit, None, None, f"the route was not sticky at revision {revision}: no unit decided"
        )
    if reason == "weight":
        return UnitCheck(
            unit, None, False, f"the request carried no unit, neither {unit} nor another: it was drawn"
        )
    split = _split(compiled, rule)
    leads_to = split.single or by_unit(split, unit.encode())
    near = () if split.single else distances(split, unit.encode())
    leads = f"unit {unit} leads to version {leads_to} at revision {revision}"
    if reason == "fallback":
        sentence = f"{leads} (where no rule holds); the fallback answered for a version without ready workers"
        return UnitCheck(unit, leads_to, None, sentence, near)
    if leads_to == version:
        return UnitCheck(unit, leads_to, True, f"{leads}, as recorded", near)
    other = "another unit" if reason == "sticky" else "another unit, or none"
    sentence = f"{leads}, but version {version} answered: the request had {other}"
    return UnitCheck(unit, leads_to, False, sentence, near)


def _split(compiled: CompiledRoute, rule: int | None) -> Split:
    return compiled.split if rule is None or rule >= len(compiled.rules) else compiled.rules[rule].split
