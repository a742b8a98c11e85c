"""The audit stream as it lies in Redis, and the signed heads beside it.

Entries are written by the commit's script alone (`documents`, `commit.lua`); here they are read, newest or
oldest first, in pages. Called by `gateway.control`.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.store.connection import ask

PAGE_ENTRIES = 500  # read at once: about 200 KiB, and a few ms of the reader's
HEADS_KEPT = 100_000  # about 70 days at one a minute, 40 MB; the control process' file keeps all

Raw = tuple[bytes, dict[bytes, bytes]]  # id; names and values in their order


class AuditStream:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def newest_first(self, *, before: str = "+", count: int = PAGE_ENTRIES) -> list[Raw]:
        """`before`: an entry's id, exclusive."""
        if not before.strip("0-"):
            return []  # before the first there is nothing, and Redis takes it for an error
        end = before if before == "+" else f"({before}"
        return _pairs(await ask(self._redis, "XREVRANGE", keys.AUDIT, end, "-", "COUNT", count))

    async def oldest_first(self, *, after: str = "-") -> AsyncIterator[list[Raw]]:
        """Pages; `after`: an entry's id, exclusive."""
        while True:
            begin = after if after == "-" else f"({after}"
            page = _pairs(await ask(self._redis, "XRANGE", keys.AUDIT, begin, "+", "COUNT", PAGE_ENTRIES))
            if not page:
                return
            yield page
            after = page[-1][0].decode()

    async def counter(self) -> int:
        """The revision of the newest commit."""
        return int(await ask(self._redis, "GET", keys.REVISION) or 0)

    async def heads(self) -> list[bytes]:
        """Signed heads, oldest first, as they were written."""
        found: list[bytes] = await ask(self._redis, "LRANGE", keys.AUDIT_HEADS, 0, -1)
        return found

    async def add_head(self, head: bytes) -> None:
        await ask(self._redis, "RPUSH", keys.AUDIT_HEADS, head)
        await ask(self._redis, "LTRIM", keys.AUDIT_HEADS, -HEADS_KEPT, -1)


def told(entry_id: bytes, entry: dict[bytes, bytes]) -> dict[str, Any]:
    """An entry for people and programs: `changes` is a list of `{"field", "previous": revision before,
    "deleted", "sha256" of the document, if known}`. What was written by hand is shown as far as it goes."""
    texts = {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in entry.items()
    }
    return {
        "id": entry_id.decode(),
        "revision": _number(texts.get("revision")),
        "at_ms": _number(texts.get("at_ms")),
        "author": texts.get("author", ""),
        "key_id": texts.get("key", ""),
        "request_id": texts.get("request", ""),
        "reason": texts.get("reason", ""),
        "op_id": texts.get("op_id", ""),
        "forced": texts.get("forced", ""),
        "changes": _changes(texts.get("changes", ""), texts.get("docs", "").split(",")),
        "link": texts.get("link", ""),
    }


def _changes(text: str, digests: Sequence[str]) -> list[dict[str, Any]]:
    try:
        changes = orjson.loads(text or "[]")
        named = [
            {
                "field": str(change["field"]),
                "previous": int(change["previous"]),
                "deleted": bool(change["deleted"]),
            }
            for change in changes
        ]
    except (ValueError, TypeError, KeyError):
        return []
    if len(digests) != len(named):
        return named
    return [change | {"sha256": digest} for change, digest in zip(named, digests, strict=True)]


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 19 else 0


def _pairs(found: Any) -> list[Raw]:
    """redis-py gives an entry's parts as a dict, in their order."""
    return [(entry_id, entry or {}) for entry_id, entry in found]
