"""Spans as an `ExportTraceServiceRequest` of OTLP 1, in protobuf's wire format.

Pure. Field numbers are those of opentelemetry/proto/trace/v1/trace.proto; a test reads the result with the
generated classes. Written out here because OpenTelemetry's SDK takes 15 to 20 µs of CPU to make and end one
span, encoding not included, and a whole request costs 28 (`python -m loadtests.traces`, docs/cost.md).
"""

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache

from gateway.traces.context import SAMPLED
from gateway.traces.span import Attribute, Span

_FIXED64, _BYTES = 1, 2
_STATUS_ERROR = b"\x18\x02"  # Status.code = STATUS_CODE_ERROR
_FLAGS = b"\x85\x01" + struct.pack("<I", SAMPLED)  # Span.flags, number 16


_SHORT = tuple(bytes((number,)) for number in range(128))


def _varint(number: int) -> bytes:
    if number < 128:
        return _SHORT[number]
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _sized(field: int, content: bytes) -> bytes:
    """A field of bytes, text or an inner message."""
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _sized(field, text.encode()) if text else b""


def _time(field: int, at_ns: int) -> bytes:
    return _varint(field << 3 | _FIXED64) + struct.pack("<Q", at_ns)


def _value(value: Attribute) -> bytes:
    match value:
        case bool():
            return b"\x10" + _varint(value)
        case int():
            return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
        case float():
            return b"\x21" + struct.pack("<d", value)
        case _:
            return _sized(1, value.encode("utf-8", "replace"))


@lru_cache(256)
def _key(name: str) -> bytes:
    """The first field of a `KeyValue`; there are few names, and they come again and again."""
    return _sized(1, name.encode())


def _attributes(field: int, attributes: Mapping[str, Attribute]) -> bytes:
    return b"".join(
        _sized(field, _key(name) + _sized(2, _value(value))) for name, value in attributes.items()
    )


def encode_span(span: Span) -> bytes:
    """As a field of `ScopeSpans`."""
    links = b"".join(_sized(13, _sized(1, trace) + _sized(2, other)) for trace, other in span.links)
    status = _sized(15, _sized(2, span.error.encode()) + _STATUS_ERROR) if span.error else b""
    return _sized(
        2,
        b"".join(
            (
                _sized(1, span.trace_id),
                _sized(2, span.span_id),
                _text(3, span.trace_state),
                _sized(4, span.parent_id) if span.parent_id else b"",
                _sized(5, span.name.encode()),
                b"\x30" + _varint(span.kind),
                _time(7, span.start_ns),
                _time(8, span.end_ns),
                _attributes(9, span.attributes),
                links,
                status,
                _FLAGS,
            )
        ),
    )


def request_of(
    spans: Iterable[bytes], resource: Mapping[str, Attribute], *, scope: str, version: str
) -> bytes:
    """`spans`: as `encode_span` gives them."""
    scope_spans = _sized(1, _text(1, scope) + _text(2, version)) + b"".join(spans)
    return _sized(1, _sized(1, _attributes(1, resource)) + _sized(2, scope_spans))
