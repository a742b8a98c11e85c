"""How a JSON body is read: within a size and a deadline, and only if it means one thing.

Python's parser takes NaN, Infinity, 1e999 and the last of two equal keys; none of these may reach a routing
table. FastAPI reads bodies through `StrictRoute`, so that a handler sees its validated model, nothing else.
"""

import asyncio
import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from gateway.contract.errors import CallerError
from gateway.contract.route import MAX_ROUTE_BYTES
from gateway.control.repeated import once

BODY_DEADLINE_S = 15.0
MAX_BODY_BYTES = 16 * MAX_ROUTE_BYTES  # several documents at once (`turnout apply`)


def strict_json(body: bytes) -> Any:
    """The value of a JSON text; an `invalid_json` says what is wrong with it."""
    try:
        orjson.loads(body)  # refuses NaN, bad UTF-8, lone surrogates, a BOM and depths beyond 1024
        return json.loads(body, object_pairs_hook=_unique, parse_float=_finite)
    except RecursionError:
        raise CallerError("invalid_json", "the JSON is nested too deeply") from None
    except ValueError as error:
        raise CallerError("invalid_json", f"the body is not JSON: {error}") from None


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """The whole body, refused before it is read where the client announces too much."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > max_bytes:
        raise _too_large(max_bytes)
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for part in request.stream():
                size += len(part)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                parts.append(part)
    except TimeoutError:
        raise CallerError("slow_client", f"the body did not arrive within {BODY_DEADLINE_S:g} s") from None
    except ClientDisconnect:
        raise CallerError("bad_request", "the client went away before its body had arrived") from None
    return b"".join(parts)


class StrictRoute(APIRoute):
    """A FastAPI route whose JSON body is read by the rules above."""

    max_bytes = MAX_BODY_BYTES

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            body = await read_body(request, max_bytes=self.max_bytes)
            read = _Read(request, body, strict_json(body) if body else None)
            return await once(request, body, lambda: handle(read))

        return handle_strictly


class _Read(Request):
    """A request whose body is known already."""

    def __init__(self, request: Request, body: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._known = body
        self._value = value

    async def body(self) -> bytes:
        return self._known

    async def json(self) -> Any:
        return self._value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {double!r} appears twice in one object")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large a number")
    return value


def _too_large(max_bytes: int) -> CallerError:
    return CallerError("too_large", f"the body is longer than {max_bytes} bytes", max_bytes=max_bytes)
