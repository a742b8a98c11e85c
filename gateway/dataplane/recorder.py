"""What is kept of answered predictions: ids are made here, records are gathered and written in batches.

Nothing of this is on the way of a reply but making an id and appending to a list. A batch that could not be
written is kept and written again as it was, under the same number, so that it counts once however often it
arrives. While Redis is away records gather up to a bound; beyond it the newest are dropped and counted.

Must not know: HTTP, routes. Called by `exchange` and `shadower`; `flush` is called by the process' loop.
"""

import os
import time
from collections.abc import Iterator

from gateway.contract import evidence as ev
from gateway.contract.record import BUCKET_SECONDS, BUCKET_SIZE, Kind, place_of
from gateway.dataplane.tally import AgreementTally, Tallies, Tally
from gateway.store.predictions import Batch, Predictions

NOTHING = (Kind.NONE.encode(), b"null")  # kind and value where no output was recorded
MAX_BATCH = 5_000  # records in one script: about 10 ms of Redis' time


class Bucket:
    """Ids and fields for up to `size` predictions that will lie in one Redis hash."""

    __slots__ = ("closes_at", "fields", "ids", "left", "name")

    def __init__(self, now_s: float, size: int) -> None:
        head = f"{int(now_s * 1000) & (2**48 - 1):012x}7{os.urandom(2).hex()[:3]}"
        self.name = head
        tails = os.urandom(8 * size).hex()
        prefix = f"{head[:8]}-{head[8:12]}-{head[12:]}-8"
        self.ids = [
            f"{prefix}{tails[at + 1 : at + 4]}-{tails[at + 4 : at + 16]}".encode()
            for at in range(0, 16 * size, 16)
        ]
        self.fields = [bytes.fromhex("8" + tails[at + 1 : at + 16]) for at in range(0, 16 * size, 16)]
        self.left = size
        self.closes_at = now_s + BUCKET_SECONDS


class ModelRecorder:
    """The records of one model that this process has not written yet."""

    def __init__(self, model: str, bound: int) -> None:
        self.model = model
        self.bound = bound
        self.bucket_size = BUCKET_SIZE
        self.bucket = Bucket(0.0, 0)
        self.ttl_s = 604_800
        self.waiting: list[tuple[str, bytes, bytes]] = []  # bucket, field, record
        self.dropped = 0
        self.written = 0
        self.unsent: Batch | None = None
        self.number = 0
        self.seen: dict[str, int | float] = {}  # tallies as they were at the last flush

    def new_place(self, now_s: float) -> tuple[bytes, str, bytes]:
        """A prediction id with its bucket and field."""
        bucket = self.bucket
        if bucket.left == 0 or now_s > bucket.closes_at:
            bucket = self.bucket = Bucket(now_s, self.bucket_size)
        bucket.left = left = bucket.left - 1
        return bucket.ids[left], bucket.name, bucket.fields[left]

    def own_place(self, prediction_id: bytes) -> tuple[bytes, str, bytes]:
        """The place of a caller's own id."""
        place = place_of(prediction_id.decode("ascii"))
        return prediction_id, place.bucket, place.field

    def add(self, bucket: str, field: bytes, record: bytes) -> None:
        """`record`: as `contract.record` describes it."""
        if len(self.waiting) >= self.bound:
            self.dropped += 1
        else:
            self.waiting.append((bucket, field, record))

    def next_batch(self, tallies: Tallies, minute: int) -> Batch | None:
        """The batch to write: the unsent one if there is one, else what has gathered; None = nothing new."""
        if self.unsent is not None:
            return self.unsent
        increments = dict(self._increments(tallies))
        if not self.waiting and not increments:
            return None
        taken = self.waiting[:MAX_BATCH]
        del self.waiting[: len(taken)]
        buckets: dict[str, list[tuple[bytes, bytes]]] = {}
        for bucket, field, record in taken:
            buckets.setdefault(bucket, []).append((field, record))
        self.number += 1
        self.unsent = Batch(
            number=self.number,
            records=[(bucket, self.ttl_s, entries) for bucket, entries in buckets.items()],
            increments={minute: increments} if increments else {},
        )
        return self.unsent

    def sent(self) -> None:
        assert self.unsent is not None
        self.written += sum(len(entries) for _, _, entries in self.unsent.records)
        self.unsent = None

    def _increments(self, tallies: Tallies) -> Iterator[tuple[str, int | float]]:
        """What has grown since the last call, as fields of a minute's evidence."""
        for (model, version, role), tally in list(tallies.versions.items()):
            if model == self.model:
                for statistic, total in _version_sums(tally):
                    yield from self._grown(ev.role_field(role, version, statistic), total)
        for (model, primary, shadow), agreed in list(tallies.agreements.items()):
            if model == self.model:
                for statistic, total in _agreement_sums(agreed):
                    yield from self._grown(ev.pair_field(ev.AGREEMENT, primary, shadow, statistic), total)

    def _grown(self, field: str, total: int | float) -> Iterator[tuple[str, int | float]]:
        before = self.seen.get(field, 0)
        if total != before:
            self.seen[field] = total
            yield field, total - before


def _version_sums(tally: Tally) -> Iterator[tuple[str, int | float]]:
    yield "n", tally.asked
    yield "ok", tally.answered
    yield "us", round(tally.latency_us)
    yield "recorded", tally.recorded
    for code, number in tally.errors.items():
        yield f"e:{code}", number
    for index, number in enumerate(tally.latency):
        if number:
            yield f"h{index}", number


def _agreement_sums(tally: AgreementTally) -> Iterator[tuple[str, int | float]]:
    yield "rows", tally.rows
    yield "agree", tally.agree
    yield "d", tally.difference
    yield "d2", tally.difference2


class Recorder:
    """All models of a process."""

    def __init__(self, recorder_id: str, tallies: Tallies, *, bound: int) -> None:
        self.recorder_id = recorder_id
        self.tallies = tallies
        self.bound = bound
        self.models: dict[str, ModelRecorder] = {}

    def of(self, model: str) -> ModelRecorder:
        recorder = self.models.get(model)
        if recorder is None:
            recorder = self.models[model] = ModelRecorder(model, self.bound)
        return recorder

    @property
    def buffered(self) -> int:
        return sum(len(recorder.waiting) for recorder in self.models.values())

    async def flush(self, predictions: Predictions) -> None:
        """Write what has gathered; raises UpstreamError, and loses nothing, when Redis does not take it."""
        minute = int(time.time() // 60)
        for recorder in list(self.models.values()):
            while (batch := recorder.next_batch(self.tallies, minute)) is not None:
                await predictions.write(recorder.model, self.recorder_id, batch)
                recorder.sent()
