"""How an attempt at a worker ends, and who is told.

Must not know: connections, HTTP. Implemented by `gateway.dataplane`, told by `connection` and `worker`.
"""

from enum import StrEnum
from typing import Protocol

from gateway.wire.room import Room


class Attempt(Protocol):
    """It is on the wire."""

    def abandon(self) -> None:
        """Nobody waits any more."""


class Failure(StrEnum):
    """Why an attempt brought no answer."""

    REFUSED = "refused"  # nothing listens there
    UNREACHABLE = "unreachable"  # no connection could be made in time
    STALE = "stale"  # a kept-alive connection had been closed by the worker before any byte came back
    RESET = "reset"  # the connection broke
    GARBAGE = "garbage"  # not an answer by the rules above
    MISMATCH = "mismatch"  # an answer, but not to this attempt or not of this version
    BUSY = "busy"  # no further connection may be opened, to this worker or by this process
    NO_ROOM = "no room"  # the reply is large, and too many of them are held


class Receiver(Protocol):
    """Who waits for the outcome of an attempt; exactly one of the three is called, once, unless `is_over`."""

    connection: Attempt | None  # set while the attempt is on the wire
    is_over: bool  # nobody waits any more

    @property
    def room(self) -> Room:
        """For large replies."""

    def on_plain(self, worker_us: int, output: bytes | None, body: bytes) -> None:
        """A Turnout worker's answer with status 200 and a JSON body."""

    def on_reply(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        """Any other complete answer."""

    def on_failure(self, failure: Failure) -> None: ...
