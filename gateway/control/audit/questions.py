"""Questions to the audit: which changes, what did one do, what was live at a time, is the chain whole?

Entries say who, when, why and which documents; the documents of then are in their histories, and each entry
names their digest, so that a history that was edited shows. Called by the handlers of `control.api.audit`.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.contract import keys
from gateway.contract.errors import CallerError
from gateway.control.audit.heads import Heads
from gateway.control.routing.stored import readable
from gateway.core.chain import Head, Walk
from gateway.core.diff import differences
from gateway.store.audit import AuditStream, Raw, told
from gateway.store.documents import Documents

MOST_READ = 200_000  # entries that one question looks through: about two seconds
HISTORY_READ = 1000  # as many as the store keeps


@dataclass(frozen=True, slots=True)
class Asked:
    """Which entries; None = whichever. `sees` says of a model whether the caller may see it."""

    sees: Callable[[str], bool]
    sees_all: bool
    model: str | None = None
    author: str | None = None
    since_ms: int | None = None
    forced: bool = False


async def log(
    stream: AuditStream, asked: Asked, *, before: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Newest first, and the id to go on `before`; None where nothing older is asked for."""
    found: list[dict[str, Any]] = []
    at, read = before or "+", 0
    while read < MOST_READ:
        page = await stream.newest_first(before=at)
        for raw in page:
            entry = told(*raw)
            if asked.since_ms is not None and entry["at_ms"] < asked.since_ms:
                return found, None
            if (seen := _seen(entry, asked)) is not None:
                found.append(seen)
                if len(found) == limit:
                    return found, entry["id"]
        if not page:
            return found, None
        read += len(page)
        at = page[-1][0].decode()
    return found, at


def _seen(entry: dict[str, Any], asked: Asked) -> dict[str, Any] | None:
    """The entry as far as the caller may see it; None where it is not asked for."""
    if asked.author is not None and entry["author"] != asked.author:
        return None
    if asked.forced and not entry["forced"]:
        return None
    changes = entry["changes"]
    if asked.model is not None and not any(model_of(change["field"]) == asked.model for change in changes):
        return None
    if asked.sees_all:
        return entry
    mine = [change for change in changes if asked.sees(model_of(change["field"]) or "")]
    return entry | {"changes": mine} if mine else None


def model_of(field: str) -> str | None:
    """The model that a document is about; None for keys and the like."""
    kind, _, rest = field.partition("/")
    return rest.partition("/")[0] if rest and kind != "key" else None


async def one(stream: AuditStream, documents: Documents, revision: int) -> dict[str, Any]:
    """One change in full: every document before and after, what differs, whether the history still fits."""
    at, read = "+", 0
    while read < MOST_READ and (page := await stream.newest_first(before=at)):
        for raw in page:
            entry = told(*raw)
            if entry["revision"] == revision:
                changes = [await _in_full(documents, change, revision) for change in entry["changes"]]
                return entry | {"changes": changes}
            if 0 < entry["revision"] < revision:
                break
        at = page[-1][0].decode()
        read += len(page)
        if told(*page[-1])["revision"] < revision:
            break
    raise CallerError("not_found", f"the audit has no entry of revision {revision}")


async def _in_full(documents: Documents, change: dict[str, Any], revision: int) -> dict[str, Any]:
    field = change["field"]
    if field.startswith("key/"):
        return change  # who may do what is told by `key list`; of a revoked key the entry's reason
    now, before = await documents.at(field, revision), await documents.at(field, change["previous"])
    after_doc = now.doc if now is not None and now.revision == revision else None
    before_doc = before.doc if before is not None else None
    full = change | {"before": before_doc, "after": after_doc, "is_kept": now is not None}
    digest = change.get("sha256")
    if digest and after_doc is not None:
        full["fits"] = digest == _digest(after_doc)
    if field.startswith("route/"):
        model = field.removeprefix("route/")
        routes = [None if doc is None else readable(model, doc)[0] for doc in (before_doc, after_doc)]
        full["differences"] = [str(found) for found in differences(*routes)]
    return full


def _digest(doc: dict[str, Any]) -> str:
    text = json.dumps(doc, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


async def live_at(documents: Documents, model: str, at_ms: int) -> dict[str, Any]:
    """Which route answered whose requests at a time."""
    history = await documents.history(keys.route_field(model), limit=HISTORY_READ)
    then = next((entry for entry in history if entry.at_ms <= at_ms), None)
    if then is None:
        is_whole = len(history) < HISTORY_READ
        said = "there was no route yet" if is_whole else "the history does not reach back so far"
        return {"model": model, "revision": None, "document": None, "known": is_whole, "said": said}
    until = next((entry.at_ms for entry in reversed(history) if entry.revision > then.revision), None)
    return {
        "model": model,
        "revision": then.revision,
        "author": then.author,
        "reason": then.reason,
        "since_ms": then.at_ms,
        "until_ms": until,
        "document": then.doc,
        "known": True,
        "said": "there was no route: it had been deleted" if then.doc is None else "",
    }


async def routed_models(documents: Documents) -> list[str]:
    """Every model that has or had a route."""
    changed = (await documents.follow(0)).changed
    return sorted(field.removeprefix("route/") for field in changed if field.startswith("route/"))


@dataclass(frozen=True, slots=True)
class Verified:
    """`heads`: signed ones that were met; `strangers`: heads in Redis that another key signed."""

    whole: bool
    entries: int
    older: int
    first_behind: int
    revision: int
    heads: int
    strangers: int
    problems: list[str]
    more_problems: int
    unsigned_entries: int


async def verify(stream: AuditStream, heads: Heads, *, kept: Head | None, from_head: bool) -> Verified:
    """Walks all entries. `kept`: a head that was kept elsewhere, believed as it is. `from_head`: entries
    before a head may have been trimmed."""
    signed, strangers = await heads.known()
    trusted = signed | ({kept.revision: kept} if kept is not None else {})
    at_least = await stream.counter()
    walk = Walk(trusted)
    first_behind, begun = 0, False
    problems: list[str] = []
    if kept is not None and kept.revision in signed and signed[kept.revision].sha256 != kept.sha256:
        problems.append(f"the kept head of revision {kept.revision} is not the one that was signed here")
    newest_signed = max(trusted, default=0)
    async for page in stream.oldest_first():
        if not begun:
            begun = True
            first = _revision_of(page[0])
            if from_head and first > 1 and (head := trusted.get(first - 1)) is not None:
                walk, first_behind = Walk.behind(head, trusted), head.revision
        for entry_id, entry in page:
            walk.step(entry_id, entry)
        await asyncio.sleep(0)
    walk.end(at_least=at_least, at_most=await stream.counter())
    problems += walk.problems
    return Verified(
        whole=not problems,
        entries=walk.entries,
        older=walk.older,
        first_behind=first_behind,
        revision=walk.revision,
        heads=walk.met,
        strangers=strangers,
        problems=problems,
        more_problems=walk.more_problems,
        unsigned_entries=max(0, walk.revision - max(newest_signed, first_behind)),
    )


def _revision_of(raw: Raw) -> int:
    return int(told(*raw)["revision"])
