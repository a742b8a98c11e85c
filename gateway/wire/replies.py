"""Heads and bodies of replies, as bytes ready for the wire."""

import http

import orjson

from gateway.contract.errors import STATUS_OF

STATUS_LINE: dict[int, bytes] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus
}


def error_head(code: str, *, retry_after_s: int | None = None, status: int | None = None) -> bytes:
    """Status line and headers of an error reply."""
    head = STATUS_LINE[status or STATUS_OF[code]] + b"content-type: application/json\r\nturnout-error: "
    head += code.encode() + b"\r\n"
    return head if retry_after_s is None else head + b"retry-after: %d\r\n" % retry_after_s


def error_body(message: str) -> bytes:
    """The Open Inference Protocol's error object."""
    return orjson.dumps({"error": message})
