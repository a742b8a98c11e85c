"""How fast evidence is read and labels are taken: `python -m loadtests.evidence`.

Reading: a model with 10 versions that answered, failed, shadowed and were labelled in every minute of 24
hours, written by the store's own scripts, read as `turnout compare` reads it. Intake: NDJSON with 1,000
labels a request over one connection to one real gateway process, for predictions that were recorded before.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

import httpx2
import orjson
from redis.asyncio import Redis

from gateway.contract.latency import BUCKETS
from gateway.contract.record import Kind
from gateway.control.api.evidence import first_minute
from gateway.core.evidence.compare import compare
from gateway.core.evidence.sums import read
from gateway.dataplane.recorder import Recorder
from gateway.dataplane.tally import Tallies
from gateway.store.connection import connect
from gateway.store.documents import Change, Documents
from gateway.store.embedded import EmbeddedServer
from gateway.store.predictions import Batch, Predictions
from loadtests.installation import documents
from loadtests.measure import save, say
from loadtests.started import free_port

MODEL = "bench"
VERSIONS = [str(number) for number in range(1, 11)]
MINUTES = 1440
CLASSES = 10
LABELS_AT_ONCE = 1000


def minute_of(version: str) -> dict[str, int | float]:
    """What one minute says about a version: counts, latencies, confusion, agreement and pairs."""
    fields: dict[str, int | float] = {}
    for role in "ps":
        name = f"{role}|{version}|"
        fields |= {name + "n": 1000, name + "ok": 998, name + "us": 1.5e6, name + "recorded": 998}
        fields |= {name + "e:no_workers": 2, name + "l": 900, name + "rows": 900, name + "right": 860}
        fields |= {f"{name}h{index}": 40 for index in range(10, min(BUCKETS, 34))}
        fields |= {f"{name}c:{label}:{label}": 86 for label in range(CLASSES)}
        fields |= {f"{name}c:{label}:{(label + 1) % CLASSES}": 4 for label in range(CLASSES)}
    for kind, statistics_of in (("a", {"rows": 900, "agree": 870}), ("d", {"rows": 900, "b": 12, "c": 9})):
        fields |= {f"{kind}|1|{version}|{name}": value for name, value in statistics_of.items()}
    return fields


async def reading(redis: Redis, rounds: int) -> dict[str, float]:
    predictions = Predictions(redis)
    now = int(time.time() // 60)
    fields = {name: value for version in VERSIONS for name, value in minute_of(version).items()}
    say(f"writing {MINUTES} minutes of {len(fields)} sums")
    for number, minute in enumerate(range(now - MINUTES + 1, now + 1), 1):
        await predictions.write(MODEL, "bench", Batch(number, [], {minute: fields}))
    taken: dict[str, list[float]] = {"read_ms": [], "compared_ms": []}
    for _ in range(rounds):
        began = time.perf_counter()
        evidence = await predictions.evidence(MODEL, first_minute(now, MINUTES * 60))
        table = read(evidence)
        taken["read_ms"].append((time.perf_counter() - began) * 1000)
        assert table.roles["p", "1"]["n"] == 1000 * MINUTES
        compare(evidence)
        taken["compared_ms"].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(values) for name, values in taken.items()}


async def intake(redis: Redis, url: str, directory: Path, labels: int) -> dict[str, float]:
    predictions, tallies = Predictions(redis), Tallies()
    changes = [Change(field, doc, None) for field, doc in documents(MODEL, shadow=None).items()]
    await Documents(redis).commit(changes, author="bench", reason="", op_id=os.urandom(8).hex())
    recorder = Recorder("labelled", tallies, bound=10**9)
    ids = []
    now_s = int(time.time())
    kind = Kind.CLASS.encode()
    for _ in range(labels):
        prediction_id, bucket, field = recorder.of(MODEL).new_place(float(now_s))
        recorder.of(MODEL).add(bucket, field, b'["1",1,%d,1234,"%bs/abcdefgh",7]' % (now_s, kind))
        ids.append(prediction_id.decode())
    await recorder.flush(predictions, everything=True)
    lines = [orjson.dumps({"prediction_id": one, "label": at % 10}) for at, one in enumerate(ids)]
    bodies = [b"\n".join(lines[at : at + LABELS_AT_ONCE]) for at in range(0, labels, LABELS_AT_ONCE)]
    port = free_port()
    gateway = await asyncio.create_subprocess_exec(
        *("turnout", "gateway", "--processes", "1", "--port", str(port), "--metrics-port", str(free_port())),
        *("--redis-url", url, "--data-dir", str(directory / "gateway")),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            await _ready(client)
            headers = {"content-type": "application/x-ndjson"}
            began = time.perf_counter()
            joined = 0
            for body in bodies:
                reply = await client.post(f"/v2/models/{MODEL}/feedback", content=body, headers=headers)
                joined += reply.content.count(b'"joined"')
            took_s = time.perf_counter() - began
    finally:
        gateway.terminate()
        await gateway.wait()
    assert joined == labels, f"{joined} of {labels} labels were joined"
    return {"labels": labels, "labels_per_s": labels / took_s}


async def _ready(client: httpx2.AsyncClient) -> None:
    for _ in range(200):
        try:
            if (await client.get("/v2/health/ready")).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        await asyncio.sleep(0.05)
    raise RuntimeError("the gateway did not become ready")


async def measure(*, labels: int, rounds: int, directory: Path) -> None:
    server = EmbeddedServer.start(directory / "redis")
    redis = connect(server.url, name="bench", timeout_s=10)
    try:
        found = await reading(redis, rounds) | await intake(redis, server.url, directory, labels)
    finally:
        await redis.aclose()
        server.stop()
    print(f"evidence of 10 versions over 24 h, read   {found['read_ms']:8.1f} ms")
    print(f"  and compared                           {found['compared_ms']:8.1f} ms")
    print(f"labels through one gateway process       {found['labels_per_s']:8,.0f} a second")
    save("evidence", {"rounds": [found]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(labels=asked.labels, rounds=asked.rounds, directory=Path(directory)))


if __name__ == "__main__":
    main()
