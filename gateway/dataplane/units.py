"""Whom did a version answer? Noted where a rollout wants to know how far its candidate has reached, and
beside the record where a unit's records must be found again, to be erased.

Called by `exchange` with a reply that is on its way, and only where the route says `counting` or
`record.units`.
"""

from gateway.contract.record import UNIT_SUFFIX, unit_mark
from gateway.core.decide import CompiledRoute
from gateway.core.matching import Headers
from gateway.dataplane.recorder import ModelRecorder

MOST_UNITS = 100_000  # of one version between two flushes, or while Redis is away; more are not counted


def note_unit(units: set[bytes], compiled: CompiledRoute, headers: Headers) -> None:
    unit = None if compiled.unit_of is None else compiled.unit_of(headers)
    if unit and len(units) < MOST_UNITS:
        units.add(unit)


def mark_unit(
    recorder: ModelRecorder, bucket: str, field: bytes, compiled: CompiledRoute, headers: Headers
) -> None:
    """Beside the record in this place; a request without a unit gets no mark."""
    unit = None if compiled.unit_of is None else compiled.unit_of(headers)
    if unit:
        recorder.add(bucket, field + UNIT_SUFFIX, unit_mark(compiled.route.model, unit))
