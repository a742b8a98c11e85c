"""What is kept of answered predictions: ids are made here, records are gathered and written in batches.

Nothing of this is on the way of a reply but making an id and appending to a list. A batch that could not be
written is kept and written again as it was, under the same number, so that it counts once however often it
arrives. While Redis is away records gather up to a bound; beyond it the newest are dropped and counted.

Must not know: HTTP, routes. Called by `exchange` and `shadower`; `flush` is called by the process' loop.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from gateway.contract import evidence as ev
from gateway.contract.errors import UpstreamError
from gateway.contract.latency import BUCKETS
from gateway.contract.record import BUCKET_SECONDS, BUCKET_SIZE, SLICES_SUFFIX, UNIT_SUFFIX, Kind, place_of
from gateway.contract.route import Features
from gateway.dataplane.features import fields_of
from gateway.dataplane.samples import Samples
from gateway.dataplane.tally import AgreementTally, Tallies, Tally
from gateway.store.predictions import Batch, Predictions

NOTHING = (Kind.NONE.encode(), b"null")  # kind and value where no output was recorded
MAX_BATCH = 5_000  # records in one script: about 10 ms of Redis' time
INPUTS_HELD = 50  # sampled requests between two flushes
MOST_INPUT_BYTES = 256 * 1024  # a larger body is not read for its columns
FIRST_IDS = 8  # made at once when a bucket is new
LOOK = 500  # models looked at in a flush for counts without records: about 0.1 ms
_BESIDE = (SLICES_SUFFIX, UNIT_SUFFIX)
_VARIANT = bytes(0x80 | (byte & 0x0F) for byte in range(256))  # an id's second half begins with 8
_HISTOGRAM = tuple(f"h{index}" for index in range(BUCKETS))


class Bucket:
    """Up to `size` predictions that will lie in one Redis hash; their ids are made some at once.

    Few at first, so that a model that is seldom asked holds little; then as many as there have been.
    """

    __slots__ = ("closes_at", "left", "name", "places", "size")

    def __init__(self, now_s: float, size: int) -> None:
        self.name = f"{int(now_s * 1000) & (2**48 - 1):012x}7{os.urandom(2).hex()[:3]}"
        self.places: list[tuple[bytes, str, bytes]] = []  # id, bucket, field
        self.size = size
        self.left = size  # ids not yet made
        self.closes_at = now_s + BUCKET_SECONDS

    def make_places(self) -> bool:
        """Make the next ids with their fields; False when the bucket is full."""
        name, count = self.name, min(self.left, max(FIRST_IDS, self.size - self.left))
        self.left -= count
        tails = bytearray(os.urandom(8 * count))
        tails[::8] = tails[::8].translate(_VARIANT)
        prefix = f"{name[:8]}-{name[8:12]}-{name[12:]}-"
        fields = (bytes(tails[at : at + 8]) for at in range(0, 8 * count, 8))
        self.places += ((f"{prefix}{field.hex('-', 6)}".encode(), name, field) for field in fields)
        return count > 0


_NO_BUCKET = Bucket(-BUCKET_SECONDS, 0)


class ModelRecorder:
    """The records of one model that this process has not written yet.

    `marked` is shared by all models of a process: those that have records waiting, or a batch unsent.
    """

    __slots__ = (
        "bound", "bucket", "bucket_size", "closes_at", "dropped", "features", "marked", "model", "number",
        "places", "samples", "ttl_s", "units", "unsent", "waiting", "written",
    )  # fmt: skip

    def __init__(self, model: str, bound: int, marked: "dict[ModelRecorder, None]") -> None:
        self.model = model
        self.bound = bound
        self.marked = marked
        self.bucket_size = BUCKET_SIZE
        self.bucket = _NO_BUCKET
        self.places: list[tuple[bytes, str, bytes]] = []  # of the bucket: take one until `closes_at`
        self.closes_at = 0.0
        self.ttl_s = 604_800
        self.waiting: list[tuple[str, bytes, bytes]] = []  # bucket, field, record
        self.dropped = 0
        self.written = 0
        self.samples: Samples | None = None  # since the last flush
        self.features: Features | None = None  # input columns that are counted
        self.units: dict[tuple[str, str], set[bytes]] = {}  # rollout, version -> not written yet
        self.unsent: Batch | None = None
        self.number = 0

    def new_place(self, now_s: float) -> tuple[bytes, str, bytes]:
        """A prediction id with its bucket and field."""
        bucket = self.bucket
        if now_s > bucket.closes_at or not (bucket.places or bucket.make_places()):
            bucket = self.bucket = Bucket(now_s, self.bucket_size)
            bucket.make_places()
            self.places, self.closes_at = bucket.places, bucket.closes_at
        return bucket.places.pop()

    def own_place(self, prediction_id: bytes) -> tuple[bytes, str, bytes]:
        """The place of a caller's own id."""
        place = place_of(prediction_id.decode("ascii"))
        return prediction_id, place.bucket, place.field

    def add(self, bucket: str, field: bytes, record: bytes) -> None:
        """`record`: as `contract.record` describes it."""
        if not self.waiting:
            self.marked[self] = None
        if len(self.waiting) >= self.bound:
            self.dropped += 1
        else:
            self.waiting.append((bucket, field, record))

    def note_input(self, version: str, body: bytes, json_length: bytes | None) -> None:
        """One request whose input columns will be counted; bounded between two flushes."""
        inputs = self.held().inputs
        if len(inputs) < INPUTS_HELD and len(body) <= MOST_INPUT_BYTES:
            inputs.append((version, body, json_length))

    def _feature_counts(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        if self.samples is not None and self.features is not None:
            for version, body, json_length in self.samples.inputs:
                counts.update(fields_of(version, body, json_length, self.features))
            self.samples.inputs.clear()
        return counts

    def held(self) -> Samples:
        if self.samples is None:
            self.samples = Samples()
        return self.samples

    def units_of(self, rollout_id: str, version: str) -> set[bytes]:
        return self.units.setdefault((rollout_id, version), set())

    async def write_samples(self, predictions: Predictions) -> None:
        """Before the records that they belong to: an erasure that finds a record finds all that lies beside
        it. What was not written is written with the next flush."""
        if self.samples is None or not (self.samples.request or self.samples.worst):
            return
        taken, self.samples = self.samples, Samples(inputs=self.samples.inputs)
        try:
            await predictions.keep_samples(self.model, taken.request, taken.worst, ttl_s=self.ttl_s)
        except UpstreamError:
            self.samples.request = self.samples.request or taken.request
            self.samples.worst = taken.worst | self.samples.worst
            raise

    async def write_units(self, predictions: Predictions) -> None:
        """Counting a unit twice changes nothing: what was not written is written with the next flush."""
        for (rollout_id, version), units in self.units.items():
            if taken := list(units):
                await predictions.count_units(self.model, rollout_id, version, taken)
                units.difference_update(taken)

    def next_batch(self, tallies: Tallies, minute: int) -> Batch | None:
        """The batch to write: the unsent one if there is one, else what has gathered; None = nothing new."""
        if self.unsent is not None:
            return self.unsent
        increments: dict[str, int | float] = {
            **dict(_increments(self.model, tallies)),
            **self._feature_counts(),
        }
        if not self.waiting and not increments:
            return None
        size = MAX_BATCH
        while size < len(self.waiting) and self.waiting[size][1].endswith(_BESIDE):
            size += 1  # a label must not find a record without its slices, nor an erasure without its unit
        taken = self.waiting[:size]
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


def is_settled(tally: Tally) -> bool:
    """Was everything in it taken down, and nothing asked since?"""
    return tally.asked == tally.settled


def _increments(model: str, tallies: Tallies) -> Iterator[tuple[str, int | float]]:
    """What has grown since the last call, as fields of a minute's evidence."""
    for version, role, tally in tallies.versions_of.get(model, ()):
        if is_settled(tally):
            continue
        for statistic, number in _grown(tally.written, _version_sums(tally)):
            yield ev.role_field(role, version, statistic), number
        is_complete = tally.asked == tally.answered + sum(tally.errors.values())
        tally.settled = tally.asked if is_complete else -1
    if model in tallies.slices_of:
        slices = tallies.slices_of[model]
        yield from slices.items()
        slices.clear()
    for primary, shadow, agreed in tallies.agreements_of.get(model, ()):
        for statistic, number in _grown(agreed.written, _agreement_sums(agreed)):
            yield ev.pair_field(ev.AGREEMENT, primary, shadow, statistic), number


def _grown(
    written: dict[str, int | float], sums: Iterable[tuple[str, int | float]]
) -> Iterator[tuple[str, int | float]]:
    for statistic, total in sums:
        before = written.get(statistic, 0)
        if total != before:
            written[statistic] = total
            yield statistic, total - before


def _version_sums(tally: Tally) -> Iterator[tuple[str, int | float]]:
    yield "n", tally.asked
    yield "ok", tally.answered
    yield "us", round(tally.latency_us)
    yield "recorded", tally.recorded
    for code, number in tally.errors.items():
        yield f"e:{code}", number
    for statistic, number in zip(_HISTOGRAM, tally.latency, strict=True):
        if number:
            yield statistic, number


def _agreement_sums(tally: AgreementTally) -> Iterator[tuple[str, int | float]]:
    yield "rows", tally.rows
    yield "agree", tally.agree
    yield "d", tally.difference
    yield "d2", tally.difference2


class Recorder:
    """All models of a process.

    A flush costs what the models cost that were asked since the last one: those with records are marked, and
    counts without records (errors; models that record nothing) are looked for in `LOOK` models a flush.
    """

    def __init__(self, recorder_id: str, tallies: Tallies, *, bound: int) -> None:
        self.recorder_id = recorder_id
        self.tallies = tallies
        self.bound = bound
        self.models: dict[str, ModelRecorder] = {}
        self.marked: dict[ModelRecorder, None] = {}
        self.in_turn: list[ModelRecorder] = []  # all of them
        self.looked = 0  # how far in them the look-out has come
        self.flushed_at_s = time.monotonic()  # when nothing was left unwritten last

    def of(self, model: str) -> ModelRecorder:
        recorder = self.models.get(model)
        if recorder is None:
            recorder = self.models[model] = ModelRecorder(model, self.bound, self.marked)
            self.in_turn.append(recorder)
        return recorder

    @property
    def buffered(self) -> int:
        return sum(len(recorder.waiting) for recorder in self.marked)

    @property
    def fill_ratio(self) -> float:
        """How near the fullest model is to its bound, beyond which records are dropped."""
        return max((len(recorder.waiting) for recorder in self.marked), default=0) / max(1, self.bound)

    def lag_s(self, now_s: float) -> float:
        """How far the evidence in Redis is behind; `now_s` by `time.monotonic`."""
        return now_s - self.flushed_at_s

    async def flush(self, predictions: Predictions, *, everything: bool = False) -> None:
        """Write what has gathered; raises UpstreamError, and loses nothing, when Redis does not take it."""
        minute = int(time.time() // 60)
        for model in self.in_turn if everything else self._next_in_turn():
            if any(not is_settled(tally) for _, _, tally in self.tallies.versions_of.get(model.model, ())):
                self.marked[model] = None
        for model in list(self.marked):
            while (batch := model.next_batch(self.tallies, minute)) is not None:
                await model.write_samples(predictions)
                await predictions.write(model.model, self.recorder_id, batch)
                model.sent()
            await model.write_samples(predictions)
            if model.units:
                await model.write_units(predictions)
            del self.marked[model]
        self.flushed_at_s = time.monotonic()

    def _next_in_turn(self) -> list[ModelRecorder]:
        first = self.looked if self.looked < len(self.in_turn) else 0
        self.looked = first + LOOK
        return self.in_turn[first : self.looked]
