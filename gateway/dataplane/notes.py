"""What a route wants noted of its answers besides their records: slices, units, samples, columns of inputs.

Made with the entry of a route that wants any of it. Most want nothing, and then their exchanges have one
question to ask: is there a `Notes`? What lies beside a record (slices, the unit) is added right behind it.

Must not know: HTTP, Redis, how a reply is made. Told by `exchange`, when a reply is on its way.
"""

from random import random

from gateway.contract import headers as h
from gateway.contract.record import MAX_SAMPLE_BYTES, SLICES_SUFFIX, UNIT_SUFFIX, unit_mark
from gateway.core.decide import CompiledRoute
from gateway.dataplane.recorder import ModelRecorder
from gateway.dataplane.slicer import Slicer
from gateway.dataplane.tally import Tallies

MOST_UNITS = 100_000  # of one version between two flushes, or while Redis is away; more are not counted


class Counting:
    """Whom did this version answer? For a rollout that wants to know how far its candidate has reached."""

    __slots__ = ("units", "version")

    def __init__(self, version: str, units: set[bytes]) -> None:
        self.version = version
        self.units = units  # the recorder takes them with its next flush


class Notes:
    __slots__ = ("compiled", "counting", "feature_share", "keeps_bodies", "keeps_units", "recorder", "slicer")

    def __init__(
        self,
        compiled: CompiledRoute,
        recorder: ModelRecorder,
        *,
        slicer: Slicer | None,
        counting: Counting | None,
    ) -> None:
        record = compiled.route.record
        self.compiled = compiled
        self.recorder = recorder
        self.slicer = slicer
        self.counting = counting
        self.keeps_bodies = record.bodies
        self.keeps_units = record.units
        self.feature_share = 0.0 if record.features is None else record.features.percent / 100

    def answered(self, headers: dict[bytes, bytes], version: str) -> None:
        counting = self.counting
        if counting is not None and counting.version == version:
            unit = self._unit(headers)
            if unit and len(counting.units) < MOST_UNITS:
                counting.units.add(unit)
        if self.slicer is not None:
            self.slicer.count(headers, version, "ok")

    def failed(self, headers: dict[bytes, bytes], version: str, code: str) -> None:
        if self.slicer is not None:
            self.slicer.count(headers, version, f"e:{code}")

    def recorded(
        self, headers: dict[bytes, bytes], version: str, body: bytes, *, bucket: str, field: bytes
    ) -> None:
        """`bucket`, `field`: where the record will lie that was just added."""
        recorder = self.recorder
        json_length = headers.get(h.JSON_LENGTH)
        if self.keeps_bodies and len(body) <= MAX_SAMPLE_BYTES and json_length is None:
            recorder.held().request = body
        if self.feature_share and random() < self.feature_share:
            recorder.note_input(version, body, json_length)
        if self.slicer is not None:
            recorder.add(bucket, field + SLICES_SUFFIX, self.slicer.text(headers))
        if self.keeps_units and (unit := self._unit(headers)):
            recorder.add(bucket, field + UNIT_SUFFIX, unit_mark(self.compiled.route.model, unit))

    def _unit(self, headers: dict[bytes, bytes]) -> bytes | None:
        return None if self.compiled.unit_of is None else self.compiled.unit_of(headers)


def notes_for(
    compiled: CompiledRoute, recorder: ModelRecorder, *, tallies: Tallies, counting: Counting | None
) -> Notes | None:
    """None: the route wants nothing but records."""
    record = compiled.route.record
    if not (record.slices or record.bodies or record.units or record.features or counting):
        return None
    slicer = Slicer(record.slices, tallies.slices_of[recorder.model]) if record.slices else None
    return Notes(compiled, recorder, slicer=slicer, counting=counting)
