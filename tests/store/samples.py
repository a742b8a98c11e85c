"""Predictions as gateways write them, for tests: ids, records, batches."""

import asyncio
import inspect
import itertools
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from gateway.contract.record import place_of, shadow_field
from gateway.store.predictions import Batch
from tests.sockets import PATIENCE_S

TTL_S = 604_800
_numbers = itertools.count(1)


def new_id(age_s: float = 0.0) -> str:
    """As a gateway makes them: a UUIDv7 of this time."""
    made_ms = int((time.time() - age_s) * 1000)
    text = f"{made_ms:012x}7{os.urandom(2).hex()[:3]}8{os.urandom(8).hex()[:15]}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def record(
    version: str, kind: str, output: Any, *, at_s: int | None = None, way: str = "s/1ab2cd34"
) -> bytes:
    """`way`: how a primary's answer came about; "" = not said, as by shadows and by earlier gateways."""
    at_s = int(time.time()) if at_s is None else at_s
    return b'["%b",42,%d,1234,"%b",%b]' % (
        version.encode(), at_s, (kind + way).encode(), orjson.dumps(output),
    )  # fmt: skip


def entry(prediction_id: str, raw: bytes, *, slot: int | None = None) -> tuple[str, bytes, bytes]:
    """(bucket, field, record) of the primary, or of the shadow in this slot."""
    place = place_of(prediction_id)
    return place.bucket, place.field if slot is None else shadow_field(place.field, slot), raw


def batch(*entries: tuple[str, bytes, bytes], number: int | None = None, ttl_s: int = TTL_S) -> Batch:
    buckets: dict[str, list[tuple[bytes, bytes]]] = {}
    for bucket, field, raw in entries:
        buckets.setdefault(bucket, []).append((field, raw))
    records = [(bucket, ttl_s, found) for bucket, found in buckets.items()]
    return Batch(next(_numbers) if number is None else number, records, {})


def total(evidence: dict[int, dict[str, float]], *, with_outputs: bool = False) -> dict[str, float]:
    """All minutes together, without what came to nothing; histograms of outputs and of labels' ages only
    where asked."""
    sums: dict[str, float] = {}
    for minute in evidence.values():
        for field, value in minute.items():
            if ("|o:" in field or "|la:" in field) and not with_outputs:
                continue
            sums[field] = sums.get(field, 0) + value
    return {field: value for field, value in sums.items() if value}


async def until(
    is_so: Callable[[], Any] | Callable[[], Awaitable[Any]], *, limit_s: float = PATIENCE_S
) -> None:
    """Waits for a state, with a limit."""
    end = time.monotonic() + limit_s
    while True:
        answer = is_so()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return
        assert time.monotonic() < end, "the awaited state did not come"
        await asyncio.sleep(0.01)
