"""How long does it take to verify an audit of a million entries?

A Redis of its own is filled with entries as commits write them (the links computed here, so that filling
takes seconds), heads are signed on the way, and the chain is verified as the control API does it.

    python -m loadtests.audit --entries 1000000
"""

import argparse
import asyncio
import json
import resource
import tempfile
import time
from pathlib import Path

from redis.asyncio import Redis

from gateway.contract import keys
from gateway.control.audit.heads import Heads
from gateway.control.audit.questions import verify
from gateway.core.chain import link_of
from gateway.store.audit import AuditStream
from gateway.store.connection import connect
from gateway.store.embedded import EmbeddedServer

AT_ONCE = 2000
LIMIT_S = 60.0  # what is promised for a million


def entry(revision: int) -> dict[bytes, bytes]:
    """What a split by an operator with a key leaves."""
    changes = [
        {"field": f"route/model-{revision % 500}", "previous": max(0, revision - 500), "deleted": False}
    ]
    return {
        b"revision": b"%d" % revision,
        b"at_ms": b"%d" % (1_790_000_000_000 + revision),
        b"author": b"deploy-bot",
        b"reason": b"canary, step %d" % (revision % 10),
        b"op_id": b"%032x" % revision,
        b"changes": json.dumps(changes, separators=(",", ":")).encode(),
        b"docs": b"%064x" % revision,
        b"key": b"0123456789",
        b"request": b"%032x" % (revision * 7),
    }


async def fill(redis: Redis, entries: int) -> None:
    link = b""
    for first in range(1, entries + 1, AT_ONCE):
        pipeline = redis.pipeline(transaction=False)
        for revision in range(first, min(first + AT_ONCE, entries + 1)):
            written = entry(revision)
            link = written[b"link"] = link_of(written, link)
            flat = [part for pair in written.items() for part in pair]
            pipeline.execute_command("XADD", keys.AUDIT, f"{revision}-0", *flat)
        await pipeline.execute()
    await redis.set(keys.REVISION, entries)


async def measure(entries: int, directory: Path) -> dict[str, float]:
    server = EmbeddedServer.start(directory / "redis")
    redis = connect(server.url, name="turnout-bench", timeout_s=30)
    try:
        started = time.perf_counter()
        await fill(redis, entries)
        filled = time.perf_counter()
        stream = AuditStream(redis)
        heads = Heads(stream, directory)
        await heads.sign(now_ms=1)
        signed = time.perf_counter()
        found = await verify(stream, heads, kept=None, from_head=False)
        ended = time.perf_counter()
        assert found.whole, found.problems
        assert (found.entries, found.heads) == (entries, 1)
        used = (await redis.info("memory"))["used_memory"]
    finally:
        await redis.aclose()
        server.stop()
    return {
        "entries": entries,
        "fill_s": round(filled - started, 1),
        "first_head_s": round(signed - filled, 1),
        "verify_s": round(ended - signed, 1),
        "verify_us_per_entry": round((ended - signed) / entries * 1e6, 1),
        "redis_bytes_per_entry": round(used / entries),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--entries", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        result = asyncio.run(measure(arguments.entries, Path(directory)))
    print(json.dumps(result, indent=2))
    return 0 if result["verify_s"] <= LIMIT_S * max(1.0, arguments.entries / 1_000_000) else 1


if __name__ == "__main__":
    raise SystemExit(main())
