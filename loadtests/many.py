"""An installation with many models: its documents, a Redis full of them, and a storm of commits.

Run as a program it throws the storm, so that it has a process of its own. Used by `scale`.
"""

import argparse
import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import uvloop

from gateway.contract import keys
from gateway.contract.route import Route
from gateway.contract.signature import Signature, TensorSpec
from gateway.contract.version import Version
from gateway.store.connection import connect
from gateway.store.documents import Change, Documents
from loadtests.backend import DIGEST

VERSIONS = "12345"
AT_ONCE = 300  # documents in one commit while Redis is filled
HANDS = 32  # commits of a storm on their way at once
SIGNATURE = Signature(
    inputs=(TensorSpec(name="X", datatype="FP32", shape=(-1, 64)),),
    outputs=(
        TensorSpec(name="label", datatype="INT64", shape=(-1,)),
        TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 10)),
    ),
)


def name_of(number: int) -> str:
    return f"model-{number:05d}"


def path_of(number: int) -> bytes:
    return f"/v2/models/{name_of(number)}/infer".encode()


def route(model: str, weight: int = 90) -> dict[str, Any]:
    split = [{"version": "1", "weight": weight}, {"version": "2", "weight": 100 - weight}]
    document = {"model": model, "split": split, "sticky": {"header": "turnout-unit"}, "fallback": "1"}
    return Route.model_validate(document).model_dump(mode="json", exclude_unset=True)


def documents(number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """A route that splits 90 to 10 by unit, and five versions with what a registry says of them."""
    model = name_of(number)
    for version in VERSIONS:
        yield (
            keys.version_field(model, version),
            Version(
                model=model,
                version=version,
                digest=DIGEST,
                size_bytes=123_456,
                signature=SIGNATURE,
                source=f"s3://models/{model}/{version}/model.onnx",
                owner="team-recommendations",
                metrics={"accuracy": 0.9731},
                tags={"git": "3f2a91c", "data": "2026-11"},
            ).model_dump(mode="json"),
        )
    yield keys.route_field(model), route(model)


def envelope(field: str, revision: int, doc: dict[str, Any]) -> bytes:
    told = {
        "field": field,
        "revision": revision,
        "at_ms": 1,
        "author": "bench",
        "reason": "scale",
        "doc": doc,
    }
    return json.dumps(told).encode()


async def fill(url: str, models: int) -> None:
    """Commit every document."""
    client = connect(url, name="turnout-bench", timeout_s=5)
    try:
        everything = (Change(*item, None) for number in range(models) for item in documents(number))
        for number in itertools.count():
            changes = list(itertools.islice(everything, AT_ONCE))
            if not changes:
                return
            await Documents(client).commit(changes, author="bench", reason="scale", op_id=f"fill-{number}")
    finally:
        await client.aclose()


async def throw(url: str, models: int, *, seconds: float, per_second: int) -> None:
    """Commit routes at this rate, as far as Redis takes it; runs in a process of its own."""
    client = connect(url, name="turnout-bench", timeout_s=5, pool_size=HANDS)
    store, begun = Documents(client), time.monotonic()
    numbers = iter(range(round(seconds * per_second)))

    async def hand() -> None:
        for number in numbers:
            await asyncio.sleep(begun + number / per_second - time.monotonic())
            model = name_of(random.randrange(models))
            change = Change(keys.route_field(model), route(model, number % 98 + 1), None)
            await store.commit([change], author="bench", reason="storm", op_id=f"storm-{number}")

    await asyncio.gather(*(hand() for _ in range(HANDS)))
    await client.aclose()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--models", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--per-second", type=int, required=True)
    told = parser.parse_args()
    uvloop.run(throw(told.url, told.models, seconds=told.seconds, per_second=told.per_second))
    return 0


if __name__ == "__main__":
    sys.exit(main())
