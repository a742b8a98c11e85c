"""What a prediction costs in Redis' memory."""

import time
from typing import Any

from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.feedback import FeedbackResult
from gateway.contract.record import BUCKET_SIZE, UNIT_SUFFIX, place_of, unit_mark
from gateway.store.connection import ask
from gateway.store.predictions import Batch, Predictions
from tests.store.samples import TTL_S, new_id, record

BUCKETS = 23 * 34  # of 128: 100,096 predictions
COMPACT = (b"listpack", b"ziplist")


def _buckets(
    first: int, count: int, *, shadows: int, kind: str = "c", output: Any = 7
) -> list[tuple[str, int, list[tuple[bytes, bytes]]]]:
    now_s = int(time.time())
    made = []
    for number in range(first, first + count):
        entries = []
        for _ in range(BUCKET_SIZE):
            field = place_of(new_id()).field
            entries.append((field, record("2026-11-03", kind, output, at_s=now_s)))
            entries += [
                (field + b"%d" % slot, record("3", "c", 7, at_s=now_s, way="")) for slot in range(shadows)
            ]
        made.append((f"{number:012x}7000", TTL_S, entries))
    return made


async def _used_bytes(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


async def test_a_hundred_thousand_predictions_cost_less_than_a_hundred_bytes_each(
    predictions: Predictions, redis: Redis
) -> None:
    before = await _used_bytes(redis)
    for number in range(0, BUCKETS, 34):
        await predictions.write("digits", "r", Batch(number + 1, _buckets(number, 34, shadows=0), {}))
    each = (await _used_bytes(redis) - before) / (BUCKETS * BUCKET_SIZE)
    minutes_and_hours = len(await redis.keys(keys.evidence("digits", 0)[:-1] + "*"))
    assert await redis.dbsize() == BUCKETS + 1 + minutes_and_hours
    assert 20 < each < 100, f"{each:.1f} bytes"
    key = keys.predictions("digits", f"{0:012x}7000")
    assert await ask(redis, "OBJECT", "ENCODING", key) in COMPACT
    assert await ask(redis, "MEMORY", "USAGE", key) < 100 * BUCKET_SIZE


async def test_a_record_too_long_for_a_compact_list_costs_at_most_160_bytes(
    predictions: Predictions, redis: Redis
) -> None:
    [(bucket, ttl_s, entries)] = _buckets(1, 1, shadows=0, kind="r", output=152.34567890123456)
    assert len(entries[0][1]) > 64
    await predictions.write("digits", "r", Batch(1, [(bucket, ttl_s, entries)], {}))
    key = keys.predictions("digits", bucket)
    assert await ask(redis, "OBJECT", "ENCODING", key) not in COMPACT
    assert await ask(redis, "MEMORY", "USAGE", key, "SAMPLES", 0) <= 160 * BUCKET_SIZE


async def test_a_bucket_with_a_shadow_and_labels_is_still_one_compact_list(
    predictions: Predictions, redis: Redis
) -> None:
    [(bucket, ttl_s, entries)] = _buckets(1, 1, shadows=1)
    await predictions.write("digits", "r", Batch(1, [(bucket, ttl_s, entries)], {}))
    tails = [field.hex() for field, _ in entries if len(field) == 8]
    head = f"{bucket[:8]}-{bucket[8:12]}-{bucket[12:]}"
    items = [(f"{head}-{tail[:4]}-{tail[4:]}", "7", None) for tail in tails]
    results = await predictions.feedback("digits", items, ttl_s=ttl_s)
    assert results == [FeedbackResult.JOINED] * BUCKET_SIZE
    key = keys.predictions("digits", bucket)
    assert await ask(redis, "OBJECT", "ENCODING", key) in COMPACT
    assert await ask(redis, "MEMORY", "USAGE", key) < 160 * BUCKET_SIZE


async def test_a_units_mark_takes_about_twenty_bytes(predictions: Predictions, redis: Redis) -> None:
    used = []
    for number, has_units in enumerate((False, True)):
        [(bucket, ttl_s, entries)] = _buckets(number, 1, shadows=0)
        marks = [
            (field + UNIT_SUFFIX, unit_mark("digits", b"unit %d" % index))
            for index, (field, _) in enumerate(entries)
        ]
        await predictions.write(
            "digits", f"r{number}", Batch(1, [(bucket, ttl_s, entries + marks * has_units)], {})
        )
        key = keys.predictions("digits", bucket)
        assert await ask(redis, "OBJECT", "ENCODING", key) in COMPACT
        used.append(int(await ask(redis, "MEMORY", "USAGE", key)))
    without, with_units = used
    assert 10 <= (with_units - without) / BUCKET_SIZE <= 32
    assert with_units < 160 * BUCKET_SIZE
