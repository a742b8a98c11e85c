"""How many bytes of large bodies a process holds, and who waits until there is room.

A large body lies in one buffer that counts for as long as it exists: while it is read, kept for a retry or a
shadow, written to a slow reader. Nobody has to give the bytes back, so nobody can forget it or do it twice.
CPython frees a buffer with its last reference; whoever ends a request must drop its references, and must
leave no cycle that holds one (tests count with the garbage collector off).

Who finds no room waits in line, first in first out, for a limited time. One body always fits into an empty
room, however large it is: limits of single bodies are not decided here. For one thread only.

Must not know: connections, what a body is part of. Used by `body`, for requests and for replies.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import cast

FREE_BYTES = 64 * 1024  # bodies up to this size are not counted: they are the common case, and small


class Room:
    def __init__(self, limit_bytes: int = sys.maxsize, *, wait_s: float = 1.0) -> None:
        self.limit_bytes = limit_bytes
        self.wait_s = wait_s
        self.used_bytes = 0
        self.waits = 0  # so often somebody had to wait
        self.refused = 0  # so often in vain
        self.line: deque[Waiting] = deque()

    def take(self, charge_bytes: int, length: int) -> "Held | None":
        """A buffer of `length` that counts as `charge_bytes`; None if it does not fit, or others wait."""
        return None if self.line or not self._fits(charge_bytes) else Held(self, charge_bytes, length)

    def wait(self, charge_bytes: int, length: int, told: "Callable[[Held | None], None]") -> "Waiting":
        """Stand in line; `told` is called later, once, with the buffer, or with None after `wait_s`."""
        self.waits += 1
        waiting = Waiting(self, charge_bytes, length, told)
        self.line.append(waiting)
        return waiting

    def _fits(self, charge_bytes: int) -> bool:
        return self.used_bytes == 0 or self.used_bytes + charge_bytes <= self.limit_bytes

    def give_back(self, charge_bytes: int) -> None:
        self.used_bytes -= charge_bytes
        self.let_in_soon()

    def let_in_soon(self) -> None:
        """Not at once: a buffer is freed in the middle of anything."""
        if self.line:
            asyncio.get_running_loop().call_soon(self._let_in)

    def _let_in(self) -> None:
        while self.line and self._fits(self.line[0].charge_bytes):
            waiting = self.line.popleft()
            waiting.timer.cancel()
            waiting.told(Held(self, waiting.charge_bytes, waiting.length))


class Waiting:
    """A place in the line."""

    __slots__ = ("charge_bytes", "length", "room", "timer", "told")

    def __init__(
        self, room: Room, charge_bytes: int, length: int, told: "Callable[[Held | None], None]"
    ) -> None:
        self.room = room
        self.charge_bytes = charge_bytes
        self.length = length
        self.told = told
        self.timer = asyncio.get_running_loop().call_later(room.wait_s, self._expire)

    def leave(self) -> None:
        """Nobody needs the room any more."""
        self.timer.cancel()
        if self in self.room.line:
            self.room.line.remove(self)
            self.room.let_in_soon()  # whoever stood behind may need less

    def _expire(self) -> None:
        self.room.refused += 1
        self.leave()
        self.told(None)


class Held(bytearray):
    """A body in memory; its room counts `charged` bytes for it until it is freed."""

    __slots__ = ("charged", "room")

    def __init__(self, room: Room, charge_bytes: int, length: int) -> None:
        self.room = room
        self.charged = charge_bytes
        room.used_bytes += charge_bytes
        super().__init__(length)

    def __del__(self) -> None:
        self.room.give_back(self.charged)

    def settle(self) -> None:
        """Count what is there, no longer what could have come."""
        surplus, self.charged = self.charged - len(self), len(self)
        self.room.give_back(surplus)

    def put(self, at: int, chunk: bytes | memoryview) -> None:
        """What goes beyond what was asked for cannot be refused any more, and is counted without asking."""
        self[at : at + len(chunk)] = chunk
        beyond = len(self) - self.charged
        if beyond > 0:
            self.charged += beyond
            self.room.used_bytes += beyond

    def put_all(self, chunks: list[bytes | memoryview]) -> None:
        """From the beginning."""
        at = 0
        for chunk in chunks:
            self.put(at, chunk)
            at += len(chunk)

    def as_body(self) -> bytes:
        """Itself. Bodies are read, sliced, measured and written, and a bytearray does that as bytes do."""
        return cast(bytes, self)
