"""One kept-alive HTTP/1.1 connection to a worker, one request at a time.

Decides whether what comes back is the answer to what was sent. An answer counts only if it is complete,
framed by Content-Length or chunks, and echoes the attempt's token with the worker's digest. Anything else,
and anything that follows an answer, closes the connection: bytes that nobody asked for are never given to
the next request (that went wrong in public HTTP clients: aio-libs/aiohttp#13656). Redirects are failures,
nothing is decompressed.

Must not know: who asked, what happens after a failure. Used by `pool`.
"""

import asyncio
from enum import StrEnum
from itertools import count
from typing import Protocol

import httptools

from gateway.contract import headers as h
from gateway.contract.reply import match_plain

MAX_HEAD_HEADERS = 100
MAX_HEAD_BYTES = 32 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
FRAMING_PER_BYTE = 8  # chunks of one byte cost five more; beyond that it is extensions or trailers
MAX_INTERIM = 4  # 1xx replies that are put up with before the final one

_tokens = count(1)


class Failure(StrEnum):
    """Why an attempt brought no answer."""

    REFUSED = "refused"  # nothing listens there
    UNREACHABLE = "unreachable"  # no connection could be made in time
    STALE = "stale"  # a kept-alive connection had been closed by the worker before any byte came back
    RESET = "reset"  # the connection broke
    GARBAGE = "garbage"  # not an answer by the rules above
    MISMATCH = "mismatch"  # an answer, but not to this attempt or not of this version
    BUSY = "busy"  # no further connection may be opened, to this worker or by this process


class Receiver(Protocol):
    """Who waits for the outcome of an attempt; exactly one of the three is called, once, unless `is_over`."""

    connection: "Connection | None"  # set while the attempt is on the wire
    is_over: bool  # nobody waits any more

    def on_plain(self, worker_us: int, output: bytes | None, body: bytes) -> None:
        """A Turnout worker's answer with status 200 and a JSON body."""

    def on_reply(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        """Any other complete answer."""

    def on_failure(self, failure: Failure) -> None: ...


class Owner(Protocol):
    """The worker that the connection belongs to."""

    digest12: bytes  # empty: do not verify

    def idle_again(self, connection: "Connection") -> None: ...

    def closed(self, connection: "Connection", *, was_busy: bool) -> None: ...


class Connection(asyncio.Protocol):
    __slots__ = (
        "body_bytes", "chunks", "expected", "fields", "got_bytes", "has_extra", "header_count", "interim",
        "is_closed", "is_done", "is_framed", "is_unused", "keep_alive", "owner", "parser", "problem",
        "receiver", "transport", "uses", "wire_bytes",
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
        self._begin()

    def _begin(self) -> None:
        self.fields: dict[bytes, bytes] = {}
        self.chunks: list[bytes] = []
        self.header_count = 0
        self.wire_bytes = 0  # of an answer that is not complete yet
        self.body_bytes = 0
        self.interim = 0
        self.is_done = False
        self.is_framed = False
        self.problem = False

    def send(self, receiver: Receiver, head: bytes, timeout_ms: int, body: bytes) -> None:
        """`head`: request line and headers with their line ends; `timeout_ms`: what is left of the
        deadline."""
        self.receiver = receiver
        receiver.connection = self
        self.uses += 1
        self.got_bytes = False
        token = next(_tokens)
        self.expected = b"%x;%b" % (token, self.owner.digest12)
        if len(body) < 16384:
            self.transport.write(
                b"%bturnout-timeout-ms: %d\r\ncontent-length: %d\r\nturnout-attempt: %x\r\n\r\n%b"
                % (head, timeout_ms, len(body), token, body)
            )
        else:
            end = (timeout_ms, len(body), token)
            rest = b"turnout-timeout-ms: %d\r\ncontent-length: %d\r\nturnout-attempt: %x\r\n\r\n" % end
            self.transport.writelines((head + rest, body))

    def abandon(self) -> None:
        """Nobody waits any more: close, so that the worker stops working on it."""
        if not self.is_closed:
            self.receiver = None
            self.is_closed = True
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
        if not self.got_bytes:
            plain = match_plain(data)
            if plain is not None and plain[1] == self.expected and int(plain[4]) == len(data) - plain.end():
                self.receiver = receiver.connection = None
                self.owner.idle_again(self)
                receiver.on_plain(int(plain[2]), plain[3], data[plain.end() :])
                return
        self.got_bytes = True
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(Failure.GARBAGE)
            return
        if self.is_done:
            self._deliver()
        elif self.problem:
            self._fail(Failure.GARBAGE)
        else:
            self.wire_bytes += len(data)
            framing_bytes = self.wire_bytes - self.body_bytes
            if framing_bytes > MAX_HEAD_BYTES + FRAMING_PER_BYTE * self.body_bytes:
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
        chunks = self.chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        receiver, self.receiver = self.receiver, None
        is_reusable = self.keep_alive and not self.has_extra
        assert receiver is not None
        receiver.connection = None
        if is_reusable:
            self._begin()
            self.got_bytes = False
            self.owner.idle_again(self)
        else:
            self.is_closed = True
            self.transport.abort()
            self.owner.closed(self, was_busy=True)
        receiver.on_reply(status, fields, body)

    def _fail(self, failure: Failure) -> None:
        """End the connection; tell the receiver, if one waits."""
        if self.is_closed:
            return
        self.is_closed = True
        self.transport.abort()
        receiver, self.receiver = self.receiver, None
        self.owner.closed(self, was_busy=receiver is not None)
        if receiver is not None:
            receiver.connection = None
            receiver.on_failure(failure)

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
        if self.header_count > MAX_HEAD_HEADERS or int(fields.get(b"content-length", 0)) > MAX_BODY_BYTES:
            self.problem = True

    def on_body(self, body: bytes) -> None:
        if self.has_extra:
            return
        self.body_bytes += len(body)
        if self.body_bytes > MAX_BODY_BYTES:
            self.problem = True
        elif not self.problem:
            self.chunks.append(body)

    def on_message_complete(self) -> None:
        if self.has_extra:
            return
        if self.parser.get_status_code() < 200:
            self.fields = {}
            return
        self.is_done = True
        self.keep_alive = self.parser.should_keep_alive()
