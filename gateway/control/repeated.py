"""`Idempotency-Key`: a request that is sent again gets the first answer, and changes nothing twice.

The key, with who sends it, becomes the operation id of the request's commit, so that even an attempt whose
answer was never written is applied once; the answer itself is kept beside it for as long as operations are.
Only answers that say yes are kept: what was refused may be tried again. Keys' secrets are never kept, so
whoever makes a key twice under one name is told that it exists. Called by `body.StrictRoute`, before a
handler runs.
"""

import contextlib
import hashlib
import re
from collections.abc import Awaitable, Callable

import orjson
from fastapi import Request, Response

from gateway.contract.errors import CallerError, ConflictError, UpstreamError
from gateway.control.access.caller import SCOPE_KEY, Known
from gateway.store.answered import Answered
from gateway.store.documents import OPERATION_IDS

HEADER = "idempotency-key"
REPLAYED = "idempotency-replayed"
_KEY = re.compile(r"[!-~]{1,128}")
_SECRET_PATHS = ("/keys",)
_KEPT_HEADERS = ("content-type", "etag")

Handle = Callable[[], Awaitable[Response]]


async def once(request: Request, body: bytes, handle: Handle) -> Response:
    """The handler's answer, or that of an earlier attempt."""
    given = request.headers.get(HEADER)
    if given is None or request.method in ("GET", "HEAD") or request.scope["path"].endswith(_SECRET_PATHS):
        return await handle()
    if _KEY.fullmatch(given) is None:
        raise CallerError("bad_request", f"{HEADER} must be 1 to 128 printable characters without spaces")
    op_id = _hash(*_who(request), given)[:32]
    digest = _hash(request.method, str(request.url.path), request.url.query, _expected(request), body)
    answered: Answered = request.app.state.parts.answered
    if (kept := await answered.get(op_id)) is not None:
        return _replayed(kept, digest, given)
    token = OPERATION_IDS.set(_ids(op_id))
    try:
        response = await handle()
    finally:
        OPERATION_IDS.reset(token)
    if response.status_code < 300:
        headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        text = bytes(response.body).decode()
        # Where Redis goes away just now: the change is made, and must not look like a failure.
        with contextlib.suppress(UpstreamError):
            await answered.keep(op_id, orjson.dumps([digest, response.status_code, headers, text]))
    return response


def _replayed(kept: bytes, digest: str, given: str) -> Response:
    known, status, headers, text = orjson.loads(kept)
    if known != digest:
        raise ConflictError(
            "conflict", f"{HEADER} {given} was used for another request: take a new one for each change"
        )
    return Response(text.encode(), status, {**headers, REPLAYED: "true"})


def _who(request: Request) -> tuple[str, str]:
    caller = request.scope.get(SCOPE_KEY)
    if isinstance(caller, Known) and caller.has_key:
        return caller.key_id, caller.name
    return "", request.headers.get("x-turnout-author", "")


def _expected(request: Request) -> str:
    return request.headers.get("if-match", "")


def _ids(op_id: str) -> Callable[[], str]:
    """One for each commit of the request, in their order."""
    count = 0

    def next_id() -> str:
        nonlocal count
        count += 1
        return op_id if count == 1 else f"{op_id}-{count}"

    return next_id


def _hash(*parts: str | bytes) -> str:
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in raw)).hexdigest()
