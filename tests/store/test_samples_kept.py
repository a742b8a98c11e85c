"""Samples end: what is older than its time goes, although newer ones keep coming."""

import time

import orjson
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.store.predictions import DISAGREEMENTS_KEPT, SAMPLES_KEPT, Predictions

PAIR = ("1", "2")


def told(which: str, *, age_s: float = 0) -> bytes:
    return orjson.dumps({"prediction_id": which, "at_ms": int((time.time() - age_s) * 1000)})


async def test_a_disagreement_ends_after_its_time_although_it_is_the_farthest_apart(
    predictions: Predictions,
) -> None:
    await predictions.keep_samples("digits", None, {PAIR: (2.0, told("old", age_s=90))}, ttl_s=60)
    await predictions.keep_samples("digits", None, {PAIR: (0.1, told("new"))}, ttl_s=60)
    kept = await predictions.disagreements("digits", *PAIR)
    assert [item["prediction_id"] for item in kept] == ["new"]


async def test_a_request_ends_after_its_time_although_newer_ones_come(
    predictions: Predictions, redis: Redis
) -> None:
    await redis.rpush(keys.samples("digits"), b'%d {"old":1}' % ((time.time() - 90) * 1000))
    await predictions.keep_samples("digits", b'{"new":1}', {}, ttl_s=60)
    assert await predictions.samples("digits", 10) == [{"new": 1}]
    assert await redis.llen(keys.samples("digits")) == 1


async def test_samples_are_bounded_in_number_and_the_farthest_apart_stay(predictions: Predictions) -> None:
    for number in range(SAMPLES_KEPT + 5):
        worst = {PAIR: (float(number), told(f"p{number}"))}
        await predictions.keep_samples("digits", b'{"n":%d}' % number, worst, ttl_s=600)
    requests = await predictions.samples("digits", 1000)
    assert [item["n"] for item in requests] == list(range(SAMPLES_KEPT + 4, 4, -1))
    kept = await predictions.disagreements("digits", *PAIR)
    assert len(kept) == DISAGREEMENTS_KEPT
    assert kept[0]["prediction_id"] == f"p{SAMPLES_KEPT + 4}"
