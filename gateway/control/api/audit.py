"""HTTP: who changed what, what was live at a time, and whether the chain of entries is whole."""

import base64
import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from gateway.contract.names import NAME_PATTERN
from gateway.contract.route import Document
from gateway.control.access.caller import Caller
from gateway.control.audit.questions import Asked, live_at, log, one, routed_models, verify
from gateway.control.body import StrictRoute
from gateway.control.parts import Control
from gateway.core.chain import Head

router = APIRouter(tags=["audit"], route_class=StrictRoute)

ENTRY_ID_PATTERN = r"^[0-9]{1,15}-[0-9]{1,15}$"
MOST_MS = 2**53
MOST_MODELS = 1000

Model = Annotated[str | None, Query(pattern=NAME_PATTERN)]
Ms = Annotated[int | None, Query(ge=0, le=MOST_MS)]


class KeptHead(Document):
    """A head as `POST /audit/head` gave it."""

    revision: int = Field(ge=1, le=MOST_MS)
    entry_id: str = Field(pattern=ENTRY_ID_PATTERN)
    link: str = Field(pattern=r"^([0-9a-f]{40})?$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    at_ms: int = Field(ge=0, le=MOST_MS)
    signer: str = Field(default="", max_length=12)
    mac: str = Field(default="", max_length=64)


class VerifyRequest(Document):
    """`from_head`: entries before a head may have been trimmed."""

    head: KeptHead | None = None
    from_head: bool = False


@router.get("/audit")
async def list_audit(
    control: Control,
    caller: Caller,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    before: Annotated[str | None, Query(pattern=ENTRY_ID_PATTERN)] = None,
    model: Model = None,
    author: Annotated[str | None, Query(max_length=128)] = None,
    since_ms: Ms = None,
    forced: bool = False,
) -> dict[str, Any]:
    """Commits, newest first; `next` goes on as `before`."""
    asked = Asked(caller.sees, caller.models is None, model, author, since_ms, forced)
    entries, following = await log(control.audit, asked, before=before, limit=limit)
    return {"entries": entries, "next": following}


@router.get("/audit/entries/{revision}")
async def show_entry(
    revision: Annotated[int, Path(ge=1, le=MOST_MS)], control: Control, caller: Caller
) -> dict[str, Any]:
    """One change with its documents before and after."""
    caller.require_all()
    return await one(control.audit, control.documents, revision)


@router.get("/audit/at")
async def what_was_live(
    at_ms: Annotated[int, Query(ge=0, le=MOST_MS)], control: Control, caller: Caller, model: Model = None
) -> dict[str, Any]:
    """Which route answered whose requests at a time, of one model or all."""
    if model is not None:
        caller.require(model)
        models = [model]
    else:
        models = [name for name in await routed_models(control.documents) if caller.sees(name)]
    found = [await live_at(control.documents, name, at_ms) for name in models[:MOST_MODELS]]
    return {"at_ms": at_ms, "routes": found, "left_out": len(models) - len(found)}


@router.get("/audit/export")
async def export(
    control: Control,
    caller: Caller,
    after: Annotated[str | None, Query(pattern=ENTRY_ID_PATTERN)] = None,
) -> dict[str, Any]:
    """A page of entries as they lie in Redis, oldest first; `next` goes on as `after`."""
    caller.require_all()
    async for page in control.audit.oldest_first(after=after or "-"):
        entries = [{"id": entry_id.decode(), "parts": _parts(entry)} for entry_id, entry in page]
        return {"entries": entries, "next": entries[-1]["id"]}
    return {"entries": [], "next": None}


@router.post("/audit/head")
async def sign_head(control: Control, caller: Caller) -> dict[str, Any]:
    """A signed head of everything up to now: keep it where Redis' administrators cannot write."""
    caller.require_all()
    head = await control.heads.sign(now_ms=time.time_ns() // 1_000_000)
    return {"head": None if head is None else asdict(head)}


@router.post("/audit/verify")
async def verify_chain(wish: VerifyRequest, control: Control, caller: Caller) -> dict[str, Any]:
    """Walks every entry; `problems` is empty when the chain is whole."""
    caller.require_all()
    kept = None if wish.head is None else Head(**wish.head.model_dump())
    return asdict(await verify(control.audit, control.heads, kept=kept, from_head=wish.from_head))


def _parts(entry: dict[bytes, bytes]) -> list[list[str | dict[str, str]]]:
    """Names and values in their order; what is not UTF-8 (nobody but a stranger wrote it) as base64."""
    return [[_text(name), _text(value)] for name, value in entry.items()]


def _text(raw: bytes) -> str | dict[str, str]:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}
