"""A span: what one process did for a sampled request, from when to when, and for whom."""

from enum import IntEnum
from random import getrandbits
from time import time_ns

Attribute = str | int | float | bool


class Kind(IntEnum):
    """The numbers of OTLP's `SpanKind`."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3


def _id(size: int) -> bytes:
    """Random, and never all zeros."""
    return (getrandbits(size * 8) or 1).to_bytes(size, "big")


class Span:
    """Begins when it is made. `error` is OTLP's status message; empty: nothing speaks against it."""

    __slots__ = (
        "attributes", "end_ns", "error", "kind", "links", "name", "parent_id", "span_id", "start_ns",
        "trace_id", "trace_state",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        kind: Kind,
        attributes: dict[str, Attribute],
        *,
        trace_id: bytes = b"",
        parent_id: bytes = b"",
    ) -> None:
        """Without `trace_id` it begins a trace."""
        self.name = name
        self.kind = kind
        self.attributes = attributes
        self.trace_id = trace_id or _id(16)
        self.span_id = _id(8)
        self.parent_id = parent_id
        self.trace_state = ""
        self.links: list[tuple[bytes, bytes]] = []  # trace and span
        self.error = ""
        self.start_ns = time_ns()
        self.end_ns = 0

    def child(self, name: str, kind: Kind, attributes: dict[str, Attribute]) -> "Span":
        made = Span(name, kind, attributes, trace_id=self.trace_id, parent_id=self.span_id)
        made.trace_state = self.trace_state
        return made
