"""Whom did a version answer? Noted where a rollout wants to know how far its candidate has reached.

Called by `exchange` with a reply that is on its way, and only while the route says `counting`.
"""

from gateway.core.decide import CompiledRoute
from gateway.core.matching import Headers

MOST_UNITS = 100_000  # of one version between two flushes, or while Redis is away; more are not counted


def note_unit(units: set[bytes], compiled: CompiledRoute, headers: Headers) -> None:
    unit = None if compiled.unit_of is None else compiled.unit_of(headers)
    if unit and len(units) < MOST_UNITS:
        units.add(unit)
