"""Predictions, their labels, and the evidence that both add up to.

Each call is one atomic script (a long list of feedback: several). Writing a batch or sending
feedback again changes nothing, so both may be repeated after a lost answer. How outputs are scored is
in `lua/scoring.lua`; the names of the sums are in `contract.evidence`. Called by gateways (write, feedback)
and by the control API (find, evidence).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.errors import UpstreamError
from gateway.contract.evidence import EVIDENCE_TTL_S, PRIMARY, SHADOW
from gateway.contract.feedback import WAIT_S, FeedbackResult
from gateway.contract.record import LABEL_SUFFIX, REASON_LETTERS, Kind, made_at_ms, place_of, shadow_field
from gateway.contract.route import MAX_SHADOWS
from gateway.store.connection import answers, ask
from gateway.store.packing import packed
from gateway.store.scripts import Argument, Script

ITEMS_AT_ONCE = 500  # feedback in one script: about 25 ms of Redis' time
MOST_WAITING = 100_000  # feedback of one model that waits for its prediction; more is answered as unknown
CORRECTIONS_KEPT = 10_000
SAMPLES_KEPT = 200  # requests of a model
DISAGREEMENTS_KEPT = 50  # of one primary and one shadow
SAMPLES_TTL_S = 7 * 86_400
WINDOWS_AT_ONCE = 250  # minutes or hours of evidence read in one round trip
UNITS_AT_ONCE = 1000
UNITS_KEPT_S = 30 * 86_400

_RECORD = re.compile(
    rb'\["([^"]*)",(\d+),(\d+),(\d+),"([crn])(?:([pswf]|\d+)/([^"/]*)(?:/(\d+))?)?",(.*)\]', re.DOTALL
)
_REASONS = {letter.encode(): reason for reason, letter in REASON_LETTERS.items()}
_WRITE = Script.load("scoring.lua", "write.lua")
_FEEDBACK = Script.load("scoring.lua", "feedback.lua")
_SAMPLES = Script.load("samples.lua")


@dataclass(frozen=True, slots=True)
class Batch:
    """What a recorder writes at once; a recorder's `number` grows by one with each new batch.

    `records`: (bucket, seconds to keep it, [(field, record), ...]); `increments`: minute -> field -> number.
    """

    number: int
    records: list[tuple[str, int, list[tuple[bytes, bytes]]]]
    increments: dict[int, dict[str, int | float]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One version's answer; `role` is `contract.evidence.PRIMARY` or `SHADOW`.

    The last four are said of primaries: a reason as in `turnout-reason`, but for a rule its position instead;
    the last characters of the worker's id; attempts. None where the record says nothing of it.
    """

    version: str
    role: str
    revision: int
    at_s: int
    latency_us: int
    kind: Kind
    output: Any
    reason: str | None = None
    rule: int | None = None
    worker: str | None = None
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What is kept of a prediction: the primary's record first; empty where nothing is known (any more)."""

    records: list[Recorded]
    label: Any = None
    reward: float | None = None


class Predictions:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def write(self, model: str, recorder_id: str, batch: Batch) -> None:
        """Applies the batch unless it was applied before, then joins feedback that waited for it.

        Raises `UpstreamError("store_away")`: then it may or may not have been applied; write it again.
        """
        increments = [
            part
            for minute, fields in batch.increments.items()
            for field, number in fields.items()
            if math.isfinite(number)
            for part in (b"%d" % minute, field.encode(), number)
        ]
        listed: list[bytes | int] = []
        for bucket, ttl_s, records in batch.records:
            listed += (bucket.encode(), ttl_s, len(records))
            for record in records:
                listed += record
        names = [keys.flushed(model, recorder_id), keys.waiting(model), keys.corrections(model)]
        arguments = [*_names(model), batch.number, packed(increments), packed(listed)]
        _check(await _WRITE.run(self._redis, names, arguments))

    async def feedback(
        self, model: str, items: Sequence[tuple[str, str | None, float | None]], *, ttl_s: int
    ) -> list[FeedbackResult]:
        """What became of each item: (prediction id, label as canonical JSON or None, reward or None).

        Canonical: `orjson.dumps` with sorted keys. `ttl_s`: how long the model's predictions are kept.
        """
        results: list[FeedbackResult] = []
        limits = [ttl_s, WAIT_S, MOST_WAITING, CORRECTIONS_KEPT]
        for first in range(0, len(items), ITEMS_AT_ONCE):
            arguments = [*_names(model), *limits]
            for prediction_id, label, reward in items[first : first + ITEMS_AT_ONCE]:
                place, made_ms = place_of(prediction_id), made_at_ms(prediction_id)
                arguments += (place.bucket, place.field, "" if made_ms is None else made_ms, prediction_id)
                arguments.append(f"reward:{reward!r}" if label is None else label)
            reply = await _FEEDBACK.run(
                self._redis, [keys.waiting(model), keys.corrections(model)], arguments
            )
            results.extend(FeedbackResult(word.decode()) for word in _check(reply))
        return results

    async def find(self, model: str, prediction_id: str) -> Found:
        """Who answered, the shadows' answers, and the label or reward."""
        place = place_of(prediction_id)
        fields = [place.field, *(shadow_field(place.field, slot) for slot in range(MAX_SHADOWS))]
        label, primary, *shadows = await ask(
            self._redis, "HMGET", keys.predictions(model, place.bucket), place.field + LABEL_SUFFIX, *fields
        )
        if primary is None:
            return Found([])
        read = [_recorded(primary, PRIMARY), *(_recorded(raw, SHADOW) for raw in shadows if raw)]
        records = [record for record in read if record is not None]
        if label is not None and label.startswith(b"reward:"):
            return Found(records, reward=float(label[7:]))
        return Found(records, label=None if label is None else orjson.loads(label))

    async def evidence(
        self,
        model: str,
        first_minute: int,
        last_minute: int | None = None,
        *,
        whole_hours: bool = True,
        with_confusion: bool = True,
    ) -> dict[int, dict[str, float]]:
        """The sums of a window, both ends included: minute -> field -> value; None = until now.

        With `whole_hours` such parts of the window come as one, under their first minute.
        Confusion counts are most of the fields, and rollouts do not ask for them.
        """
        last = await self._last_minute() if last_minute is None else last_minute
        windows = _windows(first_minute, last, whole_hours=whole_hours)
        (found,) = await self._sums(
            [(model, *window) for window in windows], [model], with_confusion=with_confusion
        )
        return found

    async def evidence_of(
        self, models: Sequence[str], first_minute: int, last_minute: int
    ) -> list[dict[int, dict[str, float]]]:
        """The same of several models, minute by minute, without confusion counts."""
        windows = _windows(first_minute, last_minute, whole_hours=True)
        asked = [(model, *window) for model in models for window in windows]
        return await self._sums(asked, models, with_confusion=False)

    async def _sums(
        self, asked: Sequence[tuple[str, int, bool]], models: Sequence[str], *, with_confusion: bool
    ) -> list[dict[int, dict[str, float]]]:
        """Of (model, first minute, whether it is an hour)."""
        found: dict[str, dict[int, dict[str, float]]] = {model: {} for model in models}
        for first in range(0, len(asked), WINDOWS_AT_ONCE):
            at_once = asked[first : first + WINDOWS_AT_ONCE]
            pipeline = self._redis.pipeline(transaction=False)
            for model, minute, is_hour in at_once:
                key = keys.evidence_of_hour(model, minute // 60) if is_hour else keys.evidence(model, minute)
                pipeline.hgetall(key)
            with answers():
                replies = await pipeline.execute()
            for (model, minute, _), sums in zip(at_once, replies, strict=True):
                counted = {
                    name: raw
                    for name, raw in sums.items()
                    if not name.startswith(b"o#") and (with_confusion or not _is_confusion(name))
                }
                if counted:
                    values = map(_sum, counted.values())
                    found[model][minute] = dict(zip(map(_text, counted), values, strict=True))
        return list(found.values())

    async def count_units(self, model: str, rollout_id: str, version: str, units: Sequence[bytes]) -> None:
        """Notes that these units were answered; a unit counts once however often it is noted."""
        key = keys.units(model, rollout_id, version)
        pipeline = self._redis.pipeline(transaction=False)
        for first in range(0, len(units), UNITS_AT_ONCE):
            pipeline.pfadd(key, *units[first : first + UNITS_AT_ONCE])
        pipeline.expire(key, UNITS_KEPT_S)
        with answers():
            await pipeline.execute()

    async def units(self, model: str, rollout_id: str, version: str) -> int:
        """About how many different units (within 1 or 2 %) the version answered in this rollout."""
        return int(await ask(self._redis, "PFCOUNT", keys.units(model, rollout_id, version)))

    async def keep_samples(
        self,
        model: str,
        request: bytes | None,
        worst: Mapping[tuple[str, str], tuple[float, bytes]],
        *,
        ttl_s: int,
    ) -> None:
        """A request's JSON body, and by (primary, shadow) a disagreement with its score. Repeating it does no
        harm."""
        names = [keys.samples(model)]
        arguments: list[Argument] = [min(ttl_s, SAMPLES_TTL_S), SAMPLES_KEPT, DISAGREEMENTS_KEPT]
        arguments.append(request or b"")
        for (primary, shadow), (score, told) in worst.items():
            names.append(keys.disagreements(model, primary, shadow))
            arguments += (repr(score), told)
        await _SAMPLES.run(self._redis, names, arguments)

    async def samples(self, model: str, limit: int) -> list[dict[str, Any]]:
        """Bodies of recent requests, newest first."""
        found = await ask(self._redis, "LRANGE", keys.samples(model), 0, limit - 1)
        bodies = (_object(raw.partition(b" ")[2]) for raw in found)
        return [body for body in bodies if body is not None]

    async def disagreements(self, model: str, primary: str, shadow: str) -> list[dict[str, Any]]:
        """Requests where the shadow differed, the farthest apart (of classes the newest) first.

        `prediction_id`, `at_ms`, `primary`, `shadow`, `apart` and, where bodies are kept, `body` in base64.
        """
        key = keys.disagreements(model, primary, shadow)
        found = await ask(self._redis, "ZREVRANGE", key, 0, DISAGREEMENTS_KEPT - 1)
        return [told for told in map(_object, found) if told is not None]

    async def corrections(self, model: str, limit: int) -> list[dict[str, Any]]:
        """What was noted of labels, newest first: `what` (corrected, invalid), `prediction_id`, `before`,
        `now`, `at_ms`."""
        found = await ask(self._redis, "LRANGE", keys.corrections(model), 0, limit - 1)
        return [orjson.loads(raw) for raw in found]

    async def _last_minute(self) -> int:
        """The end of the hour that it is for Redis: nothing is later."""
        seconds, _ = await ask(self._redis, "TIME")
        return int(seconds) // 3600 * 60 + 59


def _windows(first: int, last: int, *, whole_hours: bool) -> list[tuple[int, bool]]:
    """First minute of each part of a window, and whether it is a whole hour."""
    windows, minute = [], first
    while minute <= last:
        is_hour = whole_hours and minute % 60 == 0 and minute + 59 <= last
        windows.append((minute, is_hour))
        minute += 60 if is_hour else 1
    return windows


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


@lru_cache(20_000)  # the same fields come with every window
def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _is_confusion(name: bytes) -> bool:
    """A slice has none, but the value of its header may begin with `c:`."""
    return b"|c:" in name and not name.startswith(b"x|")


def _names(model: str) -> list[Argument]:
    """What every script of this module takes first."""
    return [keys.predictions(model, ""), keys.evidence(model, 0)[:-1], EVIDENCE_TTL_S]


def _check(reply: list[Any]) -> list[Any]:
    if reply[0] == b"type":
        raise UpstreamError(
            "store_away",
            f"Redis' key {reply[1].decode()} holds something else than Turnout's data ({reply[2].decode()}), "
            "so somebody else wrote to it; restore or delete it. Nothing was written.",
        )
    return reply


def _recorded(raw: bytes, role: str) -> Recorded | None:
    """None where the record is not one of ours; an output that is not JSON is shown as the text it is."""
    if (parts := _RECORD.fullmatch(raw)) is None:
        return None
    version, kind = parts[1].decode(), Kind(parts[5].decode())
    try:
        output = orjson.loads(parts[9])
    except orjson.JSONDecodeError:
        output = parts[9].decode("utf-8", "replace")
    said = Recorded(version, role, int(parts[2]), int(parts[3]), int(parts[4]), kind, output)
    if (code := parts[6]) is None:
        return said
    return replace(
        said,
        reason=_REASONS.get(code),
        rule=int(code) if code.isdigit() else None,
        worker=parts[7].decode("utf-8", "replace"),
        attempts=int(parts[8] or 1),
    )


def _sum(raw: bytes) -> float:
    """A sum is kept as one number, or as two to be added: the second holds what the first rounds off."""
    try:
        return float(raw)
    except ValueError:
        pass
    try:
        return math.fsum(map(float, raw.split()))
    except ValueError:
        return 0.0
