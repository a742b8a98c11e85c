"""One body on its way: in the pieces that came while it is small, in one counted buffer once it is large.

What is not in one piece with its head has one of these, a request's and a reply's alike; what is plain has
none. A large body asks for room first, and may have to wait for it. Its end (`whole`, `drop`) leaves nothing
behind: no piece, no place in the line, no stand-in at the socket.

Must not know: heads, limits, what happens without room. Used by `reading` and `gateway.upstream`.
"""

from collections.abc import Callable

from gateway.wire.filling import Fillable, Filling
from gateway.wire.room import Held, Room, Waiting

CRUMBS = 1024  # pieces of a body that are joined, since each takes some 40 bytes besides what it holds


class Body:
    __slots__ = ("chunks", "filling", "held", "joined", "large_bytes", "size", "waiting")

    def __init__(self) -> None:
        self.begin()
        self.chunks: list[bytes | memoryview] = []
        self.held: Held | None = None  # what has come, when it is large
        self.waiting: Waiting | None = None  # for room; the socket is not read meanwhile
        self.filling: Filling | None = None

    def begin(self) -> None:
        """The next one: that before has been taken, or dropped."""
        self.size = 0  # so many bytes of it have come
        self.joined = 0  # how many of `chunks` were joined from crumbs
        self.large_bytes = 0  # what it asks room for; 0: it is small, or counted as it grows

    def add(self, chunk: bytes | memoryview) -> None:
        if self.held is not None:
            self.held.put(self.size, chunk)
        else:
            chunks = self.chunks
            chunks.append(chunk)
            if len(chunks) - self.joined > CRUMBS:
                chunks[self.joined :] = [b"".join(chunks[self.joined :])]
                self.joined += 1
        self.size += len(chunk)

    def hold(self, held: Held) -> None:
        """What has come, and what comes, lies in this buffer."""
        chunks, self.chunks = self.chunks, []
        self.held = held
        held.put_all(chunks)

    def wait(self, room: Room, length: int, told: Callable[[Held | None], None]) -> None:
        """For room for `large_bytes`; `told` as `Room.wait` says, and must take `waiting` away."""
        self.waiting = room.wait(self.large_bytes, length, told)

    def fill(self, back: Fillable, filled: Callable[[], None]) -> None:
        """Read the rest from the socket of `back` straight into the buffer, which is as long as the body."""
        assert self.held is not None
        self.filling = Filling(back, self, self.held, filled)

    def whole(self) -> bytes:
        """The body, which is complete; taken out, so that its room ends with it."""
        held, self.held = self.held, None
        if held is not None:
            held.settle()
            return held.as_body()
        chunks, self.chunks = self.chunks, []
        return bytes(chunks[0]) if len(chunks) == 1 else b"".join(chunks)

    def drop(self) -> None:
        """What has come of it, or waits for room, is not needed any more."""
        self.chunks = []
        self.held = None
        if self.waiting is not None:
            self.waiting.leave()
            self.waiting = None
        if self.filling is not None:
            filling, self.filling = self.filling, None
            filling.stop()


def behind_head(data: bytes) -> tuple[bytes, memoryview]:
    """The bytes up to a head's end, and those behind it.

    A parser copies what it hands over, so that of a large body it should get the head alone.
    """
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return data, memoryview(b"")
    return data[:end], memoryview(data)[end:]
