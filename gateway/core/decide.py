"""Which version answers a request, and why: pin, then rules, then the split by unit or by draw.

`compile_route` prepares a valid route document once; `decide` is called for every request and is the whole
rule. Neither knows whether workers exist: what happens when a version has none (fallback) is the caller's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.contract import headers as h
from gateway.contract.route import Route, Sticky
from gateway.core.matching import Headers, Test, compile_matches
from gateway.core.split import Split, by_draw, compile_split

UnitOf = Callable[[Headers], bytes | None]
Decision = tuple[str, str]  # version, reason: `pin`, `rule:<name>`, `sticky`, `weight`


@dataclass(frozen=True, slots=True)
class CompiledRule:
    reason: str
    holds: Test
    split: Split


@dataclass(frozen=True, slots=True)
class CompiledShadow:
    slot: int  # position in the route, which numbers its record
    version: str
    share: float  # in [0, 1]
    holds: Test | None


@dataclass(frozen=True, slots=True)
class CompiledRoute:
    route: Route
    revision: int
    split: Split
    unit_of: UnitOf | None
    unit_header: bytes | None  # set where this header alone decides between versions, if it is there
    rules: tuple[CompiledRule, ...]
    shadows: tuple[CompiledShadow, ...]


def compile_route(route: Route, *, revision: int) -> CompiledRoute:
    """The salt of every split is the model's name, so that it stays when versions and weights change."""

    def split(weights: tuple[tuple[str, float], ...]) -> Split:
        return compile_split(weights, salt=route.model)

    sticky = route.sticky
    is_plain = sticky is not None and not route.rules and sum(item.weight > 0 for item in route.split) > 1
    return CompiledRoute(
        route=route,
        revision=revision,
        unit_header=sticky.header.encode() if sticky and sticky.header and is_plain else None,
        split=split(tuple((entry.version, entry.weight) for entry in route.split)),
        unit_of=None if route.sticky is None else _unit_reader(route.sticky),
        rules=tuple(
            CompiledRule(
                reason=f"rule:{rule.name}",
                holds=compile_matches(rule.match),
                split=split(tuple((entry.version, entry.weight) for entry in rule.split)),
            )
            for rule in route.rules
        ),
        shadows=tuple(
            CompiledShadow(
                slot=slot,
                version=shadow.version,
                share=shadow.percent / 100,
                holds=compile_matches(shadow.match) if shadow.match else None,
            )
            for slot, shadow in enumerate(route.shadows)
        ),
    )


def _unit_reader(sticky: Sticky) -> UnitOf:
    if sticky.header is not None:
        name = sticky.header.encode()
        return lambda headers: headers.get(name)
    assert sticky.cookie is not None
    wanted = sticky.cookie.encode()

    def cookie(headers: Headers) -> bytes | None:
        for pair in headers.get(b"cookie", b"").split(b";"):
            name, _, value = pair.strip().partition(b"=")
            if name == wanted:
                return value
        return None

    return cookie


def decide(compiled: CompiledRoute, headers: Headers, draw: float) -> Decision:
    """`draw` is uniform in [0, 1) and used only where no unit decides."""
    if h.VERSION in headers:
        return headers[h.VERSION].decode("latin-1"), "pin"
    split, reason = compiled.split, ""
    for rule in compiled.rules:
        if rule.holds(headers):
            split, reason = rule.split, rule.reason
            break
    unit = None if compiled.unit_of is None else compiled.unit_of(headers)
    if unit:
        return split.single or split.of_unit(unit), reason or "sticky"
    return split.single or by_draw(split, draw), reason or "weight"
