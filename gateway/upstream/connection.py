"""One kept-alive HTTP/1.1 connection to a worker, one request at a time.

Decides whether what comes back is the answer to what was sent. An answer counts only if it is complete,
framed by Content-Length or chunks, and echoes the attempt's token with the worker's digest. Anything else,
and anything that follows an answer, closes the connection: bytes that nobody asked for are never given to
the next request (that went wrong in public HTTP clients: aio-libs/aiohttp#13656). Redirects are failures,
nothing is decompressed.

A large reply needs the receiver's `room`: the worker is not read until there is some. A reply whose length is
not told cannot ask for it beforehand, and is counted as it grows.

Must not know: who asked, what happens after a failure. Used by `pool`.
"""

import asyncio
from itertools import count
from typing import Protocol

import httptools

from gateway.contract import headers as h
from gateway.contract.reply import match_plain
from gateway.upstream.outcome import Failure, Receiver
from gateway.wire.body import Body, behind_head
from gateway.wire.room import FREE_BYTES, Held, Room

MAX_HEAD_HEADERS = 100
MAX_HEAD_BYTES = 32 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
FRAMING_PER_BYTE = 8  # chunks of one byte cost five more; beyond that it is extensions or trailers
MAX_INTERIM = 4  # 1xx replies that are put up with before the final one

_tokens = count(1)


class Owner(Protocol):
    """The worker that the connection belongs to."""

    digest12: bytes  # empty: do not verify
    is_gone: bool
    in_flight: int
    idle: "list[Connection]"

    def idle_again(self, connection: "Connection") -> None: ...

    def closed(self, connection: "Connection", *, was_busy: bool) -> None: ...


class Connection(asyncio.Protocol):
    __slots__ = (
        "body", "expected", "fields", "got_bytes", "has_extra", "header_count", "interim", "is_closed",
        "is_done", "is_framed", "is_unused", "keep_alive", "owner", "parser", "problem", "receiver",
        "transport", "uses", "wire_bytes",
    )  # fmt: skip

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.transport: asyncio.Transport
        self.receiver: Receiver | None = None
        self.uses = 0
        self.is_unused = False  # since the owner looked last
        self.is_closed = False
        self.keep_alive = False
        self.parser = httptools.HttpResponseParser(self)
        self.expected = b""
        self.got_bytes = False
        self.has_extra = False
        self.body = Body()  # of an answer that is not plain
        self._begin()

    def _begin(self) -> None:
        self.fields: dict[bytes, bytes] = {}
        self.body.begin()
        self.header_count = 0
        self.wire_bytes = 0  # of an answer that is not complete yet
        self.interim = 0
        self.is_done = False
        self.is_framed = False
        self.problem = False

    def send(self, receiver: Receiver, head: bytes, body: bytes) -> None:
        """`head`: request line and headers with their line ends."""
        self.receiver = receiver
        receiver.connection = self
        self.uses += 1
        self.got_bytes = False
        token = next(_tokens)
        self.expected = b"%d;%b" % (token, self.owner.digest12)
        size = len(body)
        if size < 16384:
            self.transport.write(
                b"%bcontent-length: %d\r\nturnout-attempt: %d\r\n\r\n%b" % (head, size, token, body)
            )
        else:
            rest = b"content-length: %d\r\nturnout-attempt: %d\r\n\r\n" % (size, token)
            self.transport.writelines((head + rest, body))

    def abandon(self) -> None:
        """Nobody waits any more: close, so that the worker stops working on it."""
        if not self.is_closed:
            self.receiver = None
            self.is_closed = True
            self.body.drop()
            self.transport.abort()
            self.owner.closed(self, was_busy=True)

    # -- transport --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        is_stale = self.uses > 1 and not self.got_bytes
        self._fail(Failure.STALE if is_stale else Failure.RESET)

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        receiver = self.receiver
        if receiver is None:
            self.got_bytes = True
            self._fail(Failure.GARBAGE)
            return
        if not self.got_bytes and len(data) <= FREE_BYTES:
            plain = match_plain(data)
            if plain is not None:
                attempt, worker_us, output, length = plain.groups()
                end = plain.end()
                if attempt == self.expected and int(length) == len(data) - end:
                    self.receiver = receiver.connection = None
                    owner = self.owner
                    if owner.is_gone:
                        owner.idle_again(self)
                    else:  # the same, without its call
                        owner.in_flight -= 1
                        self.is_unused = False
                        owner.idle.append(self)
                    receiver.on_plain(int(worker_us), output, data[end:])
                    return
        is_begin, self.got_bytes = not self.got_bytes, True
        try:
            if is_begin and len(data) > FREE_BYTES:
                self._feed_head(data)
            else:
                self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(Failure.GARBAGE)
            return
        if self.body.large_bytes and not self.problem:
            self._ask_for_room(receiver.room)
        elif self.is_done:
            self._deliver()
        elif self.problem:
            self._fail(Failure.GARBAGE)
        else:
            self.wire_bytes += len(data)
            body_bytes = self.body.size
            if self.wire_bytes - body_bytes > MAX_HEAD_BYTES + FRAMING_PER_BYTE * body_bytes:
                self._fail(Failure.GARBAGE)

    def _deliver(self) -> None:
        parser = self.parser
        status = parser.get_status_code()
        fields = self.fields
        if self.problem or 300 <= status < 400 or b"content-encoding" in fields:
            self._fail(Failure.GARBAGE)
            return
        if self.owner.digest12 and fields.get(h.ATTEMPT) != self.expected:
            self._fail(Failure.MISMATCH)
            return
        is_large = self.body.large_bytes > 0
        body = self.body.whole()
        receiver, self.receiver = self.receiver, None
        is_reusable = self.keep_alive and not self.has_extra
        assert receiver is not None
        receiver.connection = None
        if is_reusable:
            if is_large:  # the parser may never have seen the end of it
                self.parser = httptools.HttpResponseParser(self)
            self._begin()
            self.got_bytes = False
            self.owner.idle_again(self)
        else:
            self.is_closed = True
            self.body.drop()
            self.transport.abort()
            self.owner.closed(self, was_busy=True)
        receiver.on_reply(status, fields, body)

    def _fail(self, failure: Failure) -> None:
        """End the connection; tell the receiver, if one waits."""
        if self.is_closed:
            return
        self.is_closed = True
        self.body.drop()
        self.transport.abort()
        receiver, self.receiver = self.receiver, None
        self.owner.closed(self, was_busy=receiver is not None)
        if receiver is not None:
            receiver.connection = None
            receiver.on_failure(failure)

    # -- large bodies -----------------------------------------------------------------------------------

    def _feed_head(self, data: bytes) -> None:
        head, rest = behind_head(data)
        self.parser.feed_data(head)
        body = self.body
        if body.large_bytes and not self.problem and len(rest) <= body.large_bytes:
            self.on_body(rest)
            if body.size == body.large_bytes:
                self.on_message_complete()
        else:
            self.parser.feed_data(rest)

    def _ask_for_room(self, room: Room) -> None:
        body = self.body
        held = room.take(body.large_bytes, body.large_bytes)
        if held is not None:
            self._has_room(held)
        else:
            self.transport.pause_reading()
            body.wait(room, body.large_bytes, self._told)

    def _told(self, held: Held | None) -> None:
        """The wait is over, with room or without."""
        self.body.waiting = None
        if held is None:
            self._fail(Failure.NO_ROOM)
        else:
            self.transport.resume_reading()
            self._has_room(held)

    def _has_room(self, held: Held) -> None:
        self.body.hold(held)
        if self.is_done:
            self._deliver()
        else:
            self.body.fill(self, self._filled)

    def _filled(self) -> None:
        self.body.filling = None
        self.on_message_complete()
        self._deliver()

    # -- parser -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.is_done:
            self.has_extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.has_extra or self.is_framed:  # trailers are not read: they come after the decisions
            return
        self.header_count += 1
        name = name.lower()
        if name in self.fields:
            self.problem = True
        self.fields[name] = value

    def on_headers_complete(self) -> None:
        if self.has_extra:
            return
        fields = self.fields
        status = self.parser.get_status_code()
        if status < 200:
            self.interim += 1
            self.problem = self.problem or self.interim > MAX_INTERIM or status == 101
            return
        self.is_framed = True
        is_sized = b"content-length" in fields or fields.get(b"transfer-encoding") == b"chunked"
        if not is_sized and status != 204:
            self.problem = True
        if sum(map(len, fields.values())) > MAX_HEAD_BYTES:
            self.problem = True
        length = int(fields.get(b"content-length", 0))
        if self.header_count > MAX_HEAD_HEADERS or length > MAX_BODY_BYTES:
            self.problem = True
        elif length > FREE_BYTES:
            self.body.large_bytes = length

    def on_body(self, chunk: bytes | memoryview) -> None:
        if self.has_extra:
            return
        body = self.body
        if body.size + len(chunk) > MAX_BODY_BYTES:
            self.problem = True
        if self.problem:
            return
        body.add(chunk)
        if body.size > FREE_BYTES and body.held is None and not body.large_bytes:
            assert self.receiver is not None
            body.hold(Held(self.receiver.room, 0, 0))  # its length was not told: counted as it grows

    def on_message_complete(self) -> None:
        if self.has_extra:
            return
        if self.parser.get_status_code() < 200:
            self.fields = {}
            return
        self.is_done = True
        self.keep_alive = self.parser.should_keep_alive()
