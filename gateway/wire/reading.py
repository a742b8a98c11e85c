"""How a request that is not plain is read: bytes, the parser's callbacks, a whole `Received`; within limits.

uvicorn has no deadline for receiving a request and no limit for its head; both are here, since nothing around
uvicorn could add them. A body above `FREE_BYTES` needs room (`room`): its length, or `limits.body_bytes` at
once where the length is not told, since a body that asked for more and more could wait for others that do the
same. Until there is room the socket is not read; if there is none in time, the answer is 503. The rest of a
body of known length goes around the parser (`filling`).

Must not know: replies, what is served. Made by `protocol` for the first request of a connection that is not
plain, and reads that and those behind it.
"""

from collections import deque
from typing import Any, NamedTuple, Protocol

import httptools

from gateway.wire.body import Body, behind_head
from gateway.wire.filling import Fillable
from gateway.wire.head import Refusal, doubt, excess, is_single, too_large
from gateway.wire.limits import Limits
from gateway.wire.room import FREE_BYTES, Held, Room

RETRY_AFTER_S = 1
NO_ROOM = "Too many large bodies are on their way: try again."
# Chunks of one byte cost five more of framing; what is above that is extensions or trailers without end.
FRAMING_PER_BYTE = 8


class Received(NamedTuple):
    """A whole request, waiting for its turn."""

    method: bytes
    url: bytes
    headers: dict[bytes, bytes]
    body: bytes
    keep_alive: bool


class Parked(NamedTuple):
    """A request that came whole, in one piece with its head, and waits for room."""

    received: Received
    body: Body


class Owner(Fillable, Protocol):
    """The connection."""

    flow: Any
    is_reading: bool  # part of a request has come
    is_busy: bool  # a request is being served
    is_refused: bool  # what comes is discarded
    keep_alive: bool
    backlog: deque[Received]  # whole, and behind the one that is being served

    @property
    def limits(self) -> Limits: ...

    @property
    def room(self) -> Room: ...

    def accept(self, received: Received) -> None:
        """Serve it when its turn has come."""

    def begin(self, received: Received) -> None:
        """Serve it now: its turn was kept (`is_busy`)."""

    def refuse(self, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        """Answer an error that ends the connection, and let what was read go."""

    def reply_error(self, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        """Answer the request whose turn was kept."""


class Reading:
    __slots__ = (
        "begun", "begun_before", "body", "chunk_bytes", "doubled", "fields", "framing_bytes", "header_count",
        "is_in_head", "owner", "parked", "parser", "url",
    )  # fmt: skip

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.parser = _parser(self)
        self.url = b""
        self.fields: dict[bytes, bytes] = {}
        self.header_count = 0
        self.doubled = b""  # a header that must be single
        self.body = Body()
        self.parked: Parked | None = None
        self.framing_bytes = 0  # of the current request's head and framing; less than that where it
        # begins in the same bytes as another
        self.begun = 0  # requests of which the parser has seen the beginning
        self.begun_before = 0  # the bytes being parsed
        self.chunk_bytes = 0  # of the bytes being parsed
        self.is_in_head = True

    def feed(self, data: bytes, *, was_reading: bool) -> None:
        """`was_reading`: a part of the request had come before."""
        owner = self.owner
        self.chunk_bytes = len(data)
        begun, body_bytes = self.begun, self.body.size
        self.begun_before = begun
        try:
            if len(data) > FREE_BYTES and self.is_in_head:
                self._feed_head(data)
            else:
                self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            owner.refuse("bad_request", "This server speaks HTTP/1.1 and upgrades to nothing else.")
            return
        except httptools.HttpParserError as error:
            owner.refuse("bad_request", f"This is not a valid HTTP/1.1 request: {error}")
            return
        if owner.is_reading:
            if self.begun == begun:
                self.framing_bytes += len(data) - (self.body.size - body_bytes)
            elif self.begun == begun + 1 and not was_reading:
                self.framing_bytes += len(data) - self.body.size
            self._check_framing()
        if owner.is_reading and self.body.held is not None:
            self._fill()

    def _feed_head(self, data: bytes) -> None:
        head, rest = behind_head(data)
        self.parser.feed_data(head)
        body = self.body
        if not body.large_bytes or len(rest) > body.large_bytes or self.is_in_head or self.owner.is_refused:
            self.parser.feed_data(rest)
        elif rest:
            self.on_body(rest)
            if body.size == body.large_bytes:
                self._filled()

    def _check_framing(self) -> None:
        """Refuse a head, or chunk extensions and trailers, that do not end."""
        limits = self.owner.limits
        if self.framing_bytes > limits.head_bytes + FRAMING_PER_BYTE * self.body.size:
            if self.is_in_head:
                self.owner.refuse(*too_large(limits))
            else:
                message = "There is far more framing than body: send fewer, larger chunks."
                self.owner.refuse("bad_request", message)

    def lateness(self, waited_s: float) -> str:
        """What did not arrive in time, as a sentence; empty: there is time."""
        limits = self.owner.limits
        if self.is_in_head:
            if waited_s > limits.head_s:
                return f"The head did not arrive within {limits.head_s:g} s."
        elif waited_s > limits.body_s + self.body.size / limits.body_bytes_per_s:
            return f"The body did not arrive within {limits.body_s:g} s."
        return ""

    def stop(self) -> None:
        """The connection is lost."""
        self.body.drop()
        if self.parked is not None:
            self.parked.body.drop()
            self.parked = None
        del self.parser  # which knows this, and so would keep it and the connection

    # -- parser callbacks -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.url = b""
        self.fields = {}
        self.header_count = 0
        self.doubled = b""
        self.is_in_head = True
        self.owner.is_reading = True
        self.begun += 1
        self.framing_bytes = 0
        self.body.begin()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_in_head:
            return  # a trailer: nobody who looked at the headers has seen it
        name = name.lower()
        fields = self.fields
        self.header_count += 1
        if name in fields:
            if is_single(name):
                self.doubled = name
            value = fields[name] + b", " + value
        fields[name] = value

    def on_headers_complete(self) -> None:
        self.is_in_head = False
        owner, fields = self.owner, self.fields
        if owner.is_refused:
            return
        refusal = self._excess() or self._doubt()
        if refusal is not None:
            owner.refuse(*refusal)
        elif (length := int(fields.get(b"content-length", 0))) > owner.limits.body_bytes:
            self._refuse_body()
        elif length > FREE_BYTES:
            self._ask_for_room(length, length)
        elif b"expect" in fields:
            self._say_continue()

    def _excess(self) -> Refusal | None:
        """The head is measured where its size is not plain from the bytes that it came in."""
        limits = self.owner.limits
        if (
            self.header_count > limits.headers
            or self.chunk_bytes > limits.head_bytes
            or self.begun == self.begun_before
        ):
            return excess(self.url, self.fields, lines=self.header_count, limits=limits)
        return None

    def _doubt(self) -> Refusal | None:
        fields = self.fields
        if self.doubled or b"host" not in fields or b"transfer-encoding" in fields:
            return doubt(fields, is_1_1=self.parser.get_http_version() == "1.1", doubled=self.doubled)
        return None

    def _say_continue(self) -> None:
        if b"expect" in self.fields and not self.owner.is_busy:
            self.owner.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse_body(self) -> None:
        self.owner.refuse("too_large", f"The body is larger than {self.owner.limits.body_bytes} bytes.")

    def on_body(self, chunk: bytes | memoryview) -> None:
        owner, body = self.owner, self.body
        if owner.is_refused:
            return
        body.add(chunk)
        if body.size > owner.limits.body_bytes:
            self._refuse_body()
        elif body.size > FREE_BYTES and not body.large_bytes:
            self._ask_for_room(owner.limits.body_bytes, 0)
        elif body.waiting is not None:
            owner.flow.pause_reading()  # the application may have resumed it

    def on_message_complete(self) -> None:
        owner = self.owner
        owner.is_reading = False
        self.is_in_head = True
        if owner.is_refused or not owner.keep_alive:
            self.body.drop()
        else:
            self._complete()

    def _complete(self) -> None:
        """A large body that came whole and has no room yet keeps its turn, if it is its turn."""
        owner, body, parser = self.owner, self.body, self.parser
        is_whole = not body.large_bytes or body.held is not None
        if not is_whole and (owner.is_busy or owner.backlog or body.waiting is None):
            self._refuse_behind()
            return
        received = Received(
            parser.get_method(),
            self.url,
            self.fields,
            body.whole() if is_whole else b"",
            parser.should_keep_alive(),
        )
        if is_whole:
            owner.accept(received)
        else:
            owner.is_busy = True  # whatever follows stands behind it
            owner.keep_alive = received.keep_alive
            self.parked = Parked(received, body)
            self.body = Body()
            self.body.size = body.size  # until the next one begins, as behind a request that is not parked

    # -- large bodies -----------------------------------------------------------------------------------

    def _ask_for_room(self, charge_bytes: int, length: int) -> None:
        owner, body = self.owner, self.body
        body.large_bytes = charge_bytes
        held = owner.room.take(charge_bytes, length)
        if held is not None:
            self._has_room(held)
        elif self.parked is not None:
            self._refuse_behind()
        else:
            body.wait(owner.room, length, self._told)
            owner.flow.pause_reading()

    def _told(self, held: Held | None) -> None:
        """The wait is over, with room or without; called by the loop."""
        parked, self.parked = self.parked, None
        if parked is not None:
            self._unpark(parked, held)
            return
        self.body.waiting = None
        if held is None:
            self.owner.refuse("overloaded", NO_ROOM, retry_after_s=RETRY_AFTER_S)
        else:
            self._has_room(held)
            self.owner.flow.resume_reading()
            self._fill()

    def _has_room(self, held: Held) -> None:
        if b"content-length" in self.fields:
            self._say_continue()
        self.body.hold(held)

    def _fill(self) -> None:
        if b"content-length" in self.fields:
            self.body.fill(self.owner, self._filled)

    def _filled(self) -> None:
        """The body is complete; the parser never sees the end of it, so the next request gets a new one."""
        self.body.filling = None
        self.on_message_complete()
        self.parser = _parser(self)

    def _unpark(self, parked: Parked, held: Held | None) -> None:
        owner = self.owner
        parked.body.waiting = None
        if held is None:
            owner.keep_alive = False
            owner.reply_error("overloaded", NO_ROOM, retry_after_s=RETRY_AFTER_S)
            return
        parked.body.hold(held)
        if not owner.backlog and not owner.is_refused:
            owner.flow.resume_reading()
        owner.begin(parked.received._replace(body=parked.body.whole(), keep_alive=owner.keep_alive))

    def _refuse_behind(self) -> None:
        """A pipelined body without room behind an unanswered request: the connection ends after its reply."""
        self.owner.room.refused += 1
        self.owner.refuse("overloaded", NO_ROOM, retry_after_s=RETRY_AFTER_S)


def _parser(reading: Reading) -> httptools.HttpRequestParser:
    """One that goes on after a request whose connection should close: what follows is discarded here."""
    parser = httptools.HttpRequestParser(reading)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
