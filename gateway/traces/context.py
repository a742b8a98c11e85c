"""Which trace a request belongs to: the header `traceparent` of W3C Trace Context, level 1.

Pure. What is not well formed is no context, and the trace begins anew (section 4.3 of the recommendation).
"""

import re
from dataclasses import dataclass

TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"
# Version 00 ends after the flags; a later one may go on after a dash. `ff` is no version.
_FORM = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16
SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class Context:
    """`trace_id`: 16 bytes; `span_id`: 8 bytes, of whoever sent the request."""

    trace_id: bytes
    span_id: bytes
    is_sampled: bool


def parse(header: bytes | None) -> Context | None:
    found = None if header is None else _FORM.fullmatch(header)
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if trace_id == _NO_TRACE or span_id == _NO_SPAN or (rest is not None and version == b"00"):
        return None
    return Context(
        bytes.fromhex(trace_id.decode()), bytes.fromhex(span_id.decode()), bool(int(flags, 16) & SAMPLED)
    )


def traceparent(trace_id: bytes, span_id: bytes) -> bytes:
    """The header of a sampled request."""
    return b"00-%b-%b-01" % (trace_id.hex().encode(), span_id.hex().encode())


def trace_id_of(header: bytes | None) -> str:
    """For a log line: the trace's id in hex, sampled or not; empty where there is none."""
    context = parse(header)
    return "" if context is None else context.trace_id.hex()
