"""Reads the rest of a body of known length from the socket straight into its buffer.

While a large body comes, this stands in for the connection's protocol: the kernel copies into the body, and
nothing is parsed, split or joined (measured with 1 MiB bodies: a third of the CPU of parsing and joining
them). It takes not one byte more than the body has; whatever follows is the connection's own again.

Used by `protocol` and `gateway.upstream`.
"""

import asyncio
from typing import Any, Protocol

from gateway.wire.room import Held


class Fillable(Protocol):
    """The connection: a protocol of asyncio that is told when its body is complete."""

    transport: Any
    body_bytes: int  # so much of the body has come

    def filled(self) -> None:
        """The body is complete; bytes come to the connection again."""

    def eof_received(self) -> bool | None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class Filling(asyncio.BufferedProtocol):
    """Made when a part of the body is in the buffer already; begins at once."""

    __slots__ = ("back", "length", "view")

    def __init__(self, back: Fillable, held: Held) -> None:
        self.back = back
        self.view: memoryview | None = memoryview(held)
        self.length = len(held)
        _read_by(back.transport, self)

    def stop(self) -> None:
        """Give the connection back; what still comes is for it."""
        self.view = None
        _read_by(self.back.transport, self.back)

    def get_buffer(self, sizehint: int) -> memoryview:
        assert self.view is not None
        return self.view[self.back.body_bytes :]

    def buffer_updated(self, nbytes: int) -> None:
        back = self.back
        back.body_bytes += nbytes
        if back.body_bytes == self.length:
            self.stop()
            back.filled()

    def eof_received(self) -> bool | None:
        return self.back.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.view = None
        self.back.connection_lost(exc)

    def pause_writing(self) -> None:
        self.back.pause_writing()

    def resume_writing(self) -> None:
        self.back.resume_writing()


def _read_by(transport: Any, protocol: Any) -> None:
    """uvloop chooses the way of reading when reading starts: start anew, unless it is paused."""
    if transport.is_closing():
        return
    was_reading = transport.is_reading()
    if was_reading:
        transport.pause_reading()
    transport.set_protocol(protocol)
    if was_reading:
        transport.resume_reading()
