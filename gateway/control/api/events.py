"""HTTP: what happens, as it happens (server-sent events): every commit, and every event of a rollout.

A reader that comes back with `Last-Event-ID` (a revision) goes on where it was, as far as the last thousand
commits reach. Redis away: the stream stays open and goes on when it is back.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from gateway.contract.errors import CallerError, UpstreamError
from gateway.contract.rollout import Rollout
from gateway.control.access.caller import Caller
from gateway.control.parts import Control, Parts
from gateway.control.rollouts.notify import event_body
from gateway.store.documents import Documents

router = APIRouter(tags=["events"])

POLL_S = 0.5
HEARTBEAT_S = 10.0
COMMITS_AT_ONCE = 1000
MOST_READERS = 64
_ROLLOUT = "rollout/"


@router.get("/events")
async def stream_events(
    control: Control, caller: Caller, last_event_id: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """Server-sent events: every commit, and every event of a rollout."""
    caller.require_all()
    if last_event_id is not None and not last_event_id.isdecimal():
        raise CallerError("bad_request", "Last-Event-ID must be a revision")
    if control.readers.count >= MOST_READERS:
        raise UpstreamError(
            "overloaded", f"{MOST_READERS} readers follow the events already: try again later"
        )
    since = int(last_event_id) if last_event_id is not None else await control.documents.revision()
    return StreamingResponse(
        _events(control, since), media_type="text/event-stream", headers={"cache-control": "no-store"}
    )


async def _events(control: Parts, since: int) -> AsyncIterator[str]:
    """Until this process ends, or the reader goes away: then the server cancels this."""
    control.readers.count += 1
    try:
        said_s = time.monotonic()
        yield ": hello\n\n"
        while not control.readers.is_ending:
            try:
                news = await _news(control.documents, since)
            except UpstreamError as error:
                news = []
                since_said = json.dumps({"error": error.message, "code": error.code})
                if time.monotonic() >= said_s + HEARTBEAT_S:
                    yield f"event: away\ndata: {since_said}\n\n"
                    said_s = time.monotonic()
            for revision, text in news:
                yield text
                since, said_s = revision, time.monotonic()
            if time.monotonic() >= said_s + HEARTBEAT_S:
                yield ": still here\n\n"
                said_s = time.monotonic()
            await asyncio.sleep(POLL_S)
    finally:
        control.readers.count -= 1


async def _news(documents: Documents, since: int) -> list[tuple[int, str]]:
    """Each commit after `since` as (revision, text); its id comes with its last event, so none is lost."""
    told = []
    for entry in await documents.audit_since(since, limit=COMMITS_AT_ONCE):
        revision = entry["revision"]
        fields = [change["field"] for change in entry["changes"] if change["field"].startswith(_ROLLOUT)]
        rollouts = [await _rollout_event(documents, field, revision) for field in fields]
        commit = f"event: commit\nid: {revision}\ndata: {json.dumps(entry)}\n\n"
        told.append((revision, "".join(text for text in rollouts if text) + commit))
    return told


async def _rollout_event(documents: Documents, field: str, revision: int) -> str | None:
    envelope = await documents.at(field, revision)
    try:
        rollout = Rollout.model_validate(None if envelope is None else envelope.doc)
    except ValidationError:
        return None
    if not rollout.events:
        return None
    data: dict[str, Any] = event_body(rollout, revision)
    return f"event: rollout\ndata: {json.dumps(data)}\n\n"
