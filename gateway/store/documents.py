"""The documents that everybody shares: committed atomically, followed by revision, kept with their history.

Knows nothing of what a document means. A commit compares every named document's revision first; it writes
documents, histories, audit and the new revision in one script, or nothing. Called by the control API
(commit, get, history, audit) and by gateways and supervisors (follow).
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import ValidationError
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.envelope import Envelope
from gateway.contract.errors import CallerError, ConflictError, FencedError, UpstreamError
from gateway.store.audit import AuditStream, told
from gateway.store.connection import answers, ask
from gateway.store.scripts import Script

OPERATION_KEPT_S = 600  # a repeated attempt within this time is answered, not applied again
HISTORY_LENGTH = 1000  # envelopes kept of one document
HISTORY_AT_ONCE = 20  # envelopes read in one go: one can have 256 KiB
PAGE_DOCUMENTS = 500  # read in one script: about 1 ms of Redis' time, and a few ms of the reader's
WAIT_FOR_DISK_MS = 150  # less than a call's timeout: an applied commit must not look like a failure
ANY = -1  # what the script knows as "any revision"
THERE = -2  # and as "there is such a document"

# Who and what a commit is made for, beside its author, in the audit: said by whoever serves a request, since
# none of the layers between has a use for it.
KEY_ID: ContextVar[str] = ContextVar("key_id", default="")
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
# How the next commit's operation id is made: at random, or from what the caller said it repeats.
OPERATION_IDS: ContextVar[Callable[[], str]] = ContextVar("operation_ids", default=lambda: uuid.uuid4().hex)


# Whether commits of this request are only tried: said by the gate of the control API.
IS_DRY: ContextVar[bool] = ContextVar("is_dry", default=False)


class WouldCommit(Exception):  # it ends a request early; nothing is wrong
    """A dry run came to its commit: all that is checked before was checked. `fields` would have changed."""

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__(", ".join(fields))
        self.fields = tuple(fields)


def new_operation_id() -> str:
    return OPERATION_IDS.get()()


_COMMIT = Script.load("commit.lua")
_FOLLOW = Script.load("follow.lua")
_ALL = Script.load("all.lua")


@dataclass(frozen=True, slots=True)
class Change:
    """One document's new content; `doc` None deletes it.

    `expected_revision`: the revision of its last change, 0 = there is no such document, None = whatever.
    `is_return`: it takes an earlier change back; the envelope says so.
    """

    field: str
    doc: dict[str, Any] | None
    expected_revision: int | None
    is_return: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """`is_durable`: the server's disk has it; None where the server cannot tell."""

    revision: int
    at_ms: int
    is_durable: bool | None = None


@dataclass(frozen=True, slots=True)
class Followed:
    """`changed`: field -> envelope JSON, None where the document was deleted."""

    revision: int
    changed: dict[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Page:
    """A part of what changed: all that changed last at or before `upto`; `revision` is the current one."""

    revision: int
    upto: int
    changed: dict[str, bytes | None]

    @property
    def is_last(self) -> bool:
        return self.upto >= self.revision


class Documents:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def commit(
        self,
        changes: Sequence[Change],
        *,
        author: str,
        reason: str,
        op_id: str,
        fence: int | None = None,
        forced: Sequence[str] = (),
        requires: Mapping[str, int | None] | None = None,
    ) -> Committed:
        """Applies all changes as one revision, or none; with `fence`, only while it is the lease's number.
        `forced`: refusals that the author overrode. `requires`: documents that the changes rest on and leave
        alone, with the revision that each must still have: 0 = there must be none, None = there must be one.

        The same `op_id` again gives the first result, so an attempt whose answer was lost may be repeated.
        Raises `ConflictError` with field, current_revision, author, at_ms and reason of the change that
        came first, `FencedError` once another controller leads, and `UpstreamError("store_away")`: then the
        commit may or may not have happened. In a dry run (`IS_DRY`) it writes nothing and raises
        `WouldCommit` where it would have written.
        """
        if not changes or len({change.field for change in changes}) != len(changes):
            raise CallerError("bad_request", "A commit names at least one document, and none of them twice.")
        stated = [part for change in changes for part in _stated(change)]
        if IS_DRY.get():
            await self._try(changes)
        who = [author.encode("utf-8", "replace"), reason.encode("utf-8", "replace")]
        digest = hashlib.sha256(b"\0".join([*who, *stated])).hexdigest()[:16]
        docs = ",".join("" if not doc else hashlib.sha256(doc).hexdigest() for doc in stated[2::4])
        extra: list[str | bytes] = ["docs", docs, "key", KEY_ID.get(), "request", REQUEST_ID.get()]
        if forced:
            extra += ["forced", "; ".join(forced).encode("utf-8", "replace")]
        names = [keys.REVISION, keys.DOCUMENTS, keys.CHANGED, keys.AUDIT, keys.operation(op_id), keys.LEASE]
        held = "" if fence is None else fence
        resting = [
            part
            for field, revision in (requires or {}).items()
            for part in (field.encode(), b"%d" % (THERE if revision is None else revision))
        ]
        given = [held, len(resting) // 2, *resting, *stated, *extra]
        reply, is_durable = await _COMMIT.run_durably(
            self._redis,
            [*names, *(keys.history(change.field) for change in changes)],
            [*who, op_id, digest, OPERATION_KEPT_S, HISTORY_LENGTH, keys.CHANGES, *given],
            wait_ms=WAIT_FOR_DISK_MS,
        )
        match reply:
            case [b"done", revision, at_ms, _]:
                return Committed(revision, at_ms, is_durable)
            case [b"conflict", field, current_revision, envelope]:
                raise _conflict(field.decode(), current_revision, envelope)
            case [b"fenced", current, holder]:
                raise FencedError(holder=holder.decode("utf-8", "replace"), fence=int(current))
            case [b"reused", _]:
                raise ConflictError("conflict", f"Operation id {op_id} was used for another change.")
            case _:
                raise UpstreamError(
                    "store_away",
                    f"Redis' key {reply[1].decode()} holds something else than Turnout's data "
                    f"({reply[2].decode()}), so somebody else wrote to it; restore or delete it. "
                    "Nothing was written.",
                )

    async def _try(self, changes: Sequence[Change]) -> NoReturn:
        """What `commit` refuses, without writing."""
        for change in changes:
            raw = await ask(self._redis, "ZSCORE", keys.CHANGED, change.field)
            current, expected = int(raw or 0), change.expected_revision
            is_free = expected == 0 and not await ask(self._redis, "HEXISTS", keys.DOCUMENTS, change.field)
            if expected is not None and expected != current and not is_free:
                last = await ask(self._redis, "LINDEX", keys.history(change.field), 0)
                raise _conflict(change.field, current, last or b"")
        raise WouldCommit([change.field for change in changes])

    async def get(self, field: str) -> Envelope | None:
        """The document, or None. One that somebody edited into nonsense has `doc` None and says why."""
        raw = await ask(self._redis, "HGET", keys.DOCUMENTS, field)
        return None if raw is None else read_envelope(raw, field)

    async def several(self, fields: Sequence[str]) -> list[Envelope | None]:
        """These documents, read at once."""
        found = await ask(self._redis, "HMGET", keys.DOCUMENTS, *fields)
        return [
            None if raw is None else read_envelope(raw, field)
            for field, raw in zip(fields, found, strict=True)
        ]

    async def all(self, prefix: str | tuple[str, ...]) -> dict[str, Envelope]:
        """Every document whose field begins with `prefix`, or with one of them, in the fields' order."""
        found = await self.all_raw(prefix)
        return {field: read_envelope(value, field) for field, value in found.items()}

    async def all_raw(self, prefix: str | tuple[str, ...]) -> dict[str, bytes]:
        """The same as they lie there, for a reader that knows most of them: see `read_envelope`."""
        prefixes = (prefix,) if isinstance(prefix, str) else prefix
        flat = await _ALL.run(self._redis, [keys.DOCUMENTS], [one.encode() for one in prefixes])
        fields = (field.decode("utf-8", "replace") for field in flat[::2])
        return dict(sorted(zip(fields, flat[1::2], strict=True)))

    async def follow(self, since: int) -> Followed:
        """What changed after revision `since`; a revision below `since` means that Redis lost documents."""
        page = await self.page(since)
        changed = page.changed
        while not page.is_last:
            page = await self.page(page.upto)
            changed |= page.changed
        return Followed(page.revision, changed)

    async def page(self, since: int, *, most: int | None = None) -> Page:
        """The first of the documents that changed after revision `since`, for a reader of many.

        What is committed between two pages comes in a later one, each document as it was last. So all pages
        together are the documents at the last page's revision; some of them alone may be no revision's.
        """
        revision, upto, flat = await _FOLLOW.run(
            self._redis, [keys.REVISION, keys.DOCUMENTS, keys.CHANGED], [since, most or PAGE_DOCUMENTS]
        )
        fields = (field.decode("utf-8", "replace") for field in flat[::2])
        return Page(revision, upto, dict(zip(fields, flat[1::2], strict=True)))

    async def history(self, field: str, limit: int = 50) -> list[Envelope]:
        """The document's last changes, newest first; a deletion has `doc` None."""
        found = await ask(self._redis, "LRANGE", keys.history(field), 0, limit - 1)
        return [read_envelope(raw, field) for raw in found]

    async def histories(self, fields: Sequence[str], limit: int) -> list[list[Envelope]]:
        """The last changes of each of these documents, newest first, read at once."""
        pipeline = self._redis.pipeline(transaction=False)
        for field in fields:
            pipeline.lrange(keys.history(field), 0, limit - 1)
        with answers():
            replies = await pipeline.execute() if fields else []
        return [
            [read_envelope(raw, field) for raw in found] for field, found in zip(fields, replies, strict=True)
        ]

    async def at(self, field: str, revision: int) -> Envelope | None:
        """The document's last change up to this revision; None where its history begins later."""
        first = 0
        while raw := await ask(
            self._redis, "LRANGE", keys.history(field), first, first + HISTORY_AT_ONCE - 1
        ):
            for envelope in (read_envelope(entry, field) for entry in raw):
                if envelope.revision <= revision:
                    return envelope
            first += (
                HISTORY_AT_ONCE  # a commit in between moves entries back: some are read twice, none missed
            )
        return None

    async def audit(self, limit: int = 100) -> list[dict[str, Any]]:
        """The last commits, newest first: see `audit.told`."""
        return [told(*raw) for raw in await AuditStream(self._redis).newest_first(count=limit)]

    async def audit_since(self, revision: int, *, limit: int) -> list[dict[str, Any]]:
        """The commits after this revision, oldest first; of more than `limit` the newest."""
        newest = await self.revision()
        if newest <= revision:
            return []
        found = await self.audit(min(limit, newest - revision))
        return [entry for entry in reversed(found) if entry["revision"] > revision]

    async def now_ms(self) -> int:
        """By Redis' clock, as documents are stamped."""
        seconds, micros = await ask(self._redis, "TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def revision(self) -> int:
        """The newest revision of the installation."""
        return int(await ask(self._redis, "GET", keys.REVISION) or 0)


def _stated(change: Change) -> tuple[bytes, bytes, bytes, bytes]:
    """As the script takes it: field, expected revision, document, whether it goes back."""
    expected = ANY if change.expected_revision is None else change.expected_revision
    try:
        doc = b"" if change.doc is None else _json(change.doc)
    except ValueError as error:  # NaN and Infinity, which orjson would quietly write as null; half characters
        raise CallerError("invalid_document", f"{change.field} cannot be written as JSON: {error}.") from None
    return change.field.encode(), b"%d" % expected, doc, b"1" if change.is_return else b""


def _json(doc: dict[str, Any]) -> bytes:
    return json.dumps(doc, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def read_envelope(raw: bytes, field: str) -> Envelope:
    """One that somebody edited into nonsense has `doc` None and says why."""
    try:
        return Envelope.model_validate_json(raw)
    except ValidationError:
        reason = "what Redis holds here is not a document of Turnout; commit it again or roll back"
        return Envelope(field=field, revision=0, at_ms=0, author="unknown", reason=reason, doc=None)


def _conflict(field: str, current_revision: int, raw: bytes) -> ConflictError:
    if not raw:
        return ConflictError(
            "conflict",
            f"{field} does not exist, but the change expects a revision of it; read it again and repeat.",
            field=field,
            current_revision=current_revision,
            author="",
            at_ms=0,
            reason="",
        )
    last = read_envelope(raw, field)
    return ConflictError(
        "conflict",
        f"{field} was changed by {last.author} in revision {current_revision} "
        f"({last.reason or 'no reason given'}); look at that change and repeat yours on top of it.",
        field=field,
        current_revision=current_revision,
        author=last.author,
        at_ms=last.at_ms,
        reason=last.reason,
    )
