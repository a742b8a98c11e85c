"""An HTTP/1.1 connection that hands over whole requests and keeps its limits.

A subclass of uvicorn's httptools protocol. Every request is collected completely (its size and time are
bounded), then offered to `serve`, which answers straight from the parser's callback or later; what `serve`
does not take goes to the ASGI application as uvicorn would do it. Requests on one connection are answered in
order, one at a time. uvicorn itself has no deadline for receiving a request and no limit for its head; both
are here, since nothing around uvicorn could add them.

A body above `FREE_BYTES` needs room (`room`): its length, or `limits.body_bytes` at once where the length is
not told, since a body that asked for more and more could wait for others that do the same. Until there is
room the socket is not read; if there is none in time, the answer is 503. The rest of a body of known length
goes around the parser (`filling`).

One class in one long module, since every part of it changes the one state of a connection.

Must not know: routes, models, tensors. Subclassed by `gateway.dataplane` and `workers.server`.
"""

import asyncio
from collections import deque
from typing import Any, ClassVar, NamedTuple
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.wire.filling import Filling
from gateway.wire.limits import Limits
from gateway.wire.plain import LOOK_AGAIN, Head, Heads, Plain, Shape, read_plain
from gateway.wire.replies import error_body, error_head
from gateway.wire.room import FREE_BYTES, Held, Room, Waiting

# Headers of which a second one is an attack or a mistake, never a list.
RETRY_AFTER_S = 1
SMALL_BYTES = 16 * 1024  # a body that is cheaper to copy behind its head than to write apart
TOO_MANY = "Too many connections are open: keep connections alive and use fewer, or try again."
NO_ROOM = "Too many large bodies are on their way: try again."

_SINGLE = frozenset({b"host", b"content-type", b"authorization", b"inference-header-content-length"})
# Chunks of one byte cost five more of framing; what is above that is extensions or trailers without end.
FRAMING_PER_BYTE = 8
CRUMBS = 1024  # pieces of a body that are joined, since each takes some 40 bytes besides what it holds


class Ticker:
    """What a server's connections share: a coarse clock (`now` is at most one sweep old), whether it drains,
    and how many connections it turned away."""

    __slots__ = ("draining", "now", "turned_away")

    def __init__(self, now: float) -> None:
        self.now = now
        self.draining = False
        self.turned_away = 0


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
    chunks: list[bytes | memoryview]
    waiting: Waiting


class HttpProtocol(HttpToolsProtocol):
    """Override `serve` and `client_gone`; set `limits`, `ticker` and `room` on the subclass."""

    limits: ClassVar[Limits] = Limits()
    ticker: ClassVar[Ticker] = Ticker(0.0)
    heads: ClassVar[Heads] = Heads()
    room: ClassVar[Room] = Room()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.reader: Head | None = None  # of what is like the last request
        self.shape: Shape | None = None  # ... in its header names
        self.misfits = 0  # requests that `reader` did not read
        self.fields: dict[bytes, bytes] = {}
        self.header_count = 0
        self.problem = ""  # why the head of the current request is refused
        self.chunks: list[bytes | memoryview] = []
        self.joined = 0  # how many of `chunks` were joined from crumbs
        self.body_bytes = 0
        self.large_bytes = 0  # what a large body asks room for; 0: it is small
        self.large: Held | None = None  # the large body that is being read
        self.filling: Filling | None = None
        self.waiting: Waiting | None = None  # for room; the socket is not read meanwhile
        self.parked: Parked | None = None
        self.app_body = b""  # that the application is given, in a copy: counts until the reply
        self.serving: Any = None  # what `serve` keeps for a request; dropped with the reply
        self.spare: Any = None  # ... and keeps to use it again
        self.framing_bytes = 0  # of the current request's head and framing; less than that where it
        # begins in the same bytes as another
        self.begun = 0  # requests of which the parser has seen the beginning
        self.begun_before = 0  # the bytes being parsed
        self.is_in_head = True
        self.is_reading = False  # part of a request has come
        self.is_busy = False  # a request is being served
        self.is_pumping = False
        self.is_refused = False  # an error was sent that ends the connection; discard what still comes
        self.is_blocked = False  # the client does not read its reply
        self.keep_alive = True
        self.served = 0
        self.chunk_bytes = 0  # of the bytes being parsed
        self.since = self.ticker.now  # start of: idling, reading, refusing, being blocked
        self.backlog: deque[Received] = deque()

    # -- to override ------------------------------------------------------------------------------------

    def serve(self, url: bytes, headers: dict[bytes, bytes], body: bytes) -> bool:
        """Take a POST (True) and call `reply` exactly once, now or later; or leave it to the app (False)."""
        return False

    def client_gone(self) -> None:
        """The client of the request that is being served went away: do not reply."""

    # -- replies ----------------------------------------------------------------------------------------

    def reply(self, head: bytes, body: bytes) -> None:
        """Answer the request that is being served.

        `head` is the status line and headers without content-length, connection and the empty line.
        """
        size = len(body)
        if size < SMALL_BYTES:
            self.reply_whole(b"%bcontent-length: %d\r\n\r\n%b" % (head, size, body), size)
            return
        self.keep_alive = self.keep_alive and not self.ticker.draining
        end = b"\r\n\r\n" if self.keep_alive else b"\r\nconnection: close\r\n\r\n"
        self.transport.writelines((b"%bcontent-length: %d%b" % (head, size, end), body))
        self._next()

    def reply_whole(self, reply: bytes, body_bytes: int) -> None:
        """As `reply`, for a small reply that is complete but for a `connection: close`."""
        if self.keep_alive and not (self.ticker.draining or self.backlog):
            self.transport.write(reply)
            self.is_busy = False
            self.serving = None
            self.served += 1
            self.since = self.ticker.now
            return
        self.keep_alive = self.keep_alive and not self.ticker.draining
        if not self.keep_alive:
            end = len(reply) - body_bytes - 2
            reply = b"%bconnection: close\r\n%b" % (reply[:end], reply[end:])
        self.transport.write(reply)
        self._next()

    def reply_error(self, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        self.reply(error_head(code, retry_after_s=retry_after_s), error_body(message))

    def _next(self) -> None:
        self.is_busy = False
        self.serving = None
        self.served += 1
        self.since = self.ticker.now
        if not self.keep_alive:
            self.backlog.clear()
            self.transport.close()
        elif self.backlog and not self.is_pumping:
            self._pump()

    def _refuse(self, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        """Answer an error that ends the connection, and let the client read it before the end."""
        if self.is_refused or self.transport.is_closing():
            return
        self.is_refused = True
        self._drop_body()
        self.is_reading = False
        self.since = self.ticker.now
        if self.is_busy or self.backlog:
            self.keep_alive = False  # replies to earlier requests must not be overtaken
            self.flow.pause_reading()
            return
        body = error_body(message)
        head = error_head(code, retry_after_s=retry_after_s)
        self.transport.write(b"%bcontent-length: %d\r\nconnection: close\r\n\r\n%b" % (head, len(body), body))
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    # -- transport callbacks ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self.ticker.turned_away += 1
            self.is_refused = True
            self.keep_alive = False
            body = error_body(TOO_MANY)
            head = error_head("overloaded", retry_after_s=RETRY_AFTER_S)
            transport.write(b"%bcontent-length: %d\r\nconnection: close\r\n\r\n%b" % (head, len(body), body))
            transport.close()  # at once: what waits until the client has read it would still hold a file

    def data_received(self, data: bytes) -> None:
        if self.is_refused:
            return
        if not (self.is_reading or self.is_busy or self.is_blocked):
            reader = self.reader
            plain = None if reader is None else reader.read(data, self.limits)
            if plain is None:
                plain = self._read_plain(data)
            if plain is not None:
                url, fields, body = plain
                self.is_busy = self.keep_alive = True
                if not self.serve(url, fields, body):
                    self._serve_app(Received(b"POST", url, fields, body, keep_alive=True))
                return
        was_reading = self.is_reading
        if not was_reading:
            self.is_reading = True
            if not self.is_busy:
                self.since = self.ticker.now
        self.chunk_bytes = len(data)
        begun, body_bytes = self.begun, self.body_bytes
        self.begun_before = begun
        try:
            if len(data) > FREE_BYTES and self.is_in_head:
                self._feed_head(data)
            else:
                self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse("bad_request", "This server speaks HTTP/1.1 and upgrades to nothing else.")
            return
        except httptools.HttpParserError as error:
            self._refuse("bad_request", f"This is not a valid HTTP/1.1 request: {error}")
            return
        if self.is_reading:
            if self.begun == begun:
                self.framing_bytes += len(data) - (self.body_bytes - body_bytes)
            elif self.begun == begun + 1 and not was_reading:
                self.framing_bytes += len(data) - self.body_bytes
            self._check_framing()
        if self.large is not None and self.is_reading and b"content-length" in self.fields:
            self.filling = Filling(self, self.large)

    def _check_framing(self) -> None:
        """Refuse a head, or chunk extensions and trailers, that do not end."""
        if self.framing_bytes > self.limits.head_bytes + FRAMING_PER_BYTE * self.body_bytes:
            if self.is_in_head:
                self._refuse("head_too_large", f"The head is larger than {self.limits.head_bytes} bytes.")
            else:
                self._refuse("bad_request", "There is far more framing than body: send fewer, larger chunks.")

    def _read_plain(self, data: bytes) -> Plain | None:
        """A plain request that is not like this connection's last ones."""
        shape = self.shape
        plain = None if shape is None else shape.read(data, self.limits)
        if shape is None or plain is None:
            read = read_plain(data, self.limits)
            if read is None:
                return None
            plain, names = read
            shape = self.shape = self.heads.shape(names)
        self.misfits += 1
        if shape is not None and (self.reader is None or self.misfits % LOOK_AGAIN == 0):
            self.reader = self.heads.head(shape, plain, self.limits)
        return plain

    def eof_received(self) -> None:
        """A client that closes its sending side has gone: its worker is needed by others (as nginx does)."""

    def connection_lost(self, exc: Exception | None) -> None:
        was_busy, self.is_busy = self.is_busy, False
        self.backlog.clear()
        self.app_body = b""
        self._drop_body()
        if self.parked is not None:
            self.parked.waiting.leave()
            self.parked = None
        super().connection_lost(exc)
        if was_busy:
            self.client_gone()

    def pause_writing(self) -> None:
        self.is_blocked = True
        self.since = self.ticker.now
        super().pause_writing()

    def resume_writing(self) -> None:
        self.is_blocked = False
        self.since = self.ticker.now
        super().resume_writing()
        if self.backlog and not self.is_busy and not self.is_pumping:
            self._pump()

    # -- parser callbacks -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.url = b""
        self.fields = {}
        self.header_count = 0
        self.problem = ""
        self.is_in_head = True
        self.is_reading = True
        self.begun += 1
        self.body_bytes = 0
        self.framing_bytes = 0
        self.large_bytes = 0
        self.chunks = []
        self.joined = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_in_head:
            return  # a trailer: nobody who looked at the headers has seen it
        name = name.lower()
        fields = self.fields
        self.header_count += 1
        if name in fields:
            if name in _SINGLE or name.startswith(b"turnout-"):
                self.problem = f"The header {name.decode('latin-1')} is given twice."
            value = fields[name] + b", " + value
        fields[name] = value

    def on_headers_complete(self) -> None:
        self.is_in_head = False
        if self.is_refused:
            return
        fields = self.fields
        if (
            self.header_count > self.limits.headers
            or self.chunk_bytes > self.limits.head_bytes
            or self.begun == self.begun_before
        ):
            self._check_head_size()
            if self.is_refused:
                return
        if b"host" not in fields and self.parser.get_http_version() == "1.1":
            self.problem = "An HTTP/1.1 request needs a Host header."
        if b"transfer-encoding" in fields:
            self._check_transfer_encoding()
        if self.problem:
            self._refuse("bad_request", self.problem)
        elif (length := int(fields.get(b"content-length", 0))) > self.limits.body_bytes:
            self._refuse_body()
        elif length > FREE_BYTES:
            self._ask_for_room(length, length)
        elif b"expect" in fields:
            self._say_continue()

    def _say_continue(self) -> None:
        if b"expect" in self.fields and not self.is_busy:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _check_head_size(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.fields.items())
        if self.header_count > self.limits.headers:
            self._refuse("head_too_large", f"More than {self.limits.headers} headers were sent.")
        elif size > self.limits.head_bytes:
            self._refuse("head_too_large", f"The head is larger than {self.limits.head_bytes} bytes.")

    def _check_transfer_encoding(self) -> None:
        if self.parser.get_http_version() != "1.1":
            self.problem = "Transfer-Encoding needs HTTP/1.1."
        elif self.fields[b"transfer-encoding"].lower() != b"chunked" or b"content-length" in self.fields:
            self.problem = "Send either a Content-Length or `Transfer-Encoding: chunked`, nothing else."

    def _refuse_body(self) -> None:
        self._refuse("too_large", f"The body is larger than {self.limits.body_bytes} bytes.")

    def on_body(self, body: bytes | memoryview) -> None:
        if self.is_refused:
            return
        if self.large is not None:
            self.large.put(self.body_bytes, body)
        else:
            chunks = self.chunks
            chunks.append(body)
            if len(chunks) - self.joined > CRUMBS:
                chunks[self.joined :] = [b"".join(chunks[self.joined :])]
                self.joined += 1
        self.body_bytes += len(body)
        if self.body_bytes > self.limits.body_bytes:
            self._refuse_body()
        elif self.body_bytes > FREE_BYTES and not self.large_bytes:
            self._ask_for_room(self.limits.body_bytes, 0)
        elif self.waiting is not None:
            self.flow.pause_reading()  # the application may have resumed it

    def on_message_complete(self) -> None:
        self.is_reading = False
        self.is_in_head = True
        if self.is_refused or not self.keep_alive:
            self._drop_body()
            return
        chunks = self.chunks
        parser = self.parser
        if self.large_bytes:
            self._complete_large()
            return
        received = Received(
            parser.get_method(),
            self.url,
            self.fields,
            bytes(chunks[0]) if len(chunks) == 1 else b"".join(chunks),
            parser.should_keep_alive(),
        )
        self.chunks = []
        self._accept(received)

    def _accept(self, received: Received) -> None:
        if self.is_busy or self.backlog or self.is_blocked:
            self.flow.pause_reading()
            self.backlog.append(received)
        else:
            self._begin(received)

    # -- large bodies -----------------------------------------------------------------------------------

    def _feed_head(self, data: bytes) -> None:
        """The parser copies what it hands over: of a large body it gets the head alone."""
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            self.parser.feed_data(data)
            return
        self.parser.feed_data(data[:end])
        rest = memoryview(data)[end:]
        if not self.large_bytes or len(rest) > self.large_bytes or self.is_in_head or self.is_refused:
            self.parser.feed_data(rest)
        elif rest:
            self.on_body(rest)
            if self.body_bytes == self.large_bytes:
                self.filled()

    def _ask_for_room(self, charge_bytes: int, length: int) -> None:
        self.large_bytes = charge_bytes
        held = self.room.take(charge_bytes, length)
        if held is not None:
            self._has_room(held)
        elif self.parked is not None:
            self._refuse_behind()
        else:
            self.waiting = self.room.wait(charge_bytes, length, self._told)
            self.flow.pause_reading()

    def _told(self, held: Held | None) -> None:
        """The wait is over, with room or without; called by the loop."""
        self.waiting = None
        parked, self.parked = self.parked, None
        if parked is not None:
            self._unpark(parked, held)
        elif held is None:
            self._refuse("overloaded", NO_ROOM, retry_after_s=RETRY_AFTER_S)
        else:
            self._has_room(held)
            self.flow.resume_reading()
            if b"content-length" in self.fields:
                self.filling = Filling(self, held)

    def _has_room(self, held: Held) -> None:
        if b"content-length" in self.fields:
            self._say_continue()
        chunks, self.chunks = self.chunks, []
        self.body_bytes = held.put_all(chunks)
        self.large = held

    def filled(self) -> None:
        """The body is complete; the parser never sees the end of it, so the next request gets a new one."""
        self.filling = None
        self.is_reading = False
        self.is_in_head = True
        if self.keep_alive:
            self._complete_large()
        else:
            self._drop_body()
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _complete_large(self) -> None:
        parser = self.parser
        received = Received(parser.get_method(), self.url, self.fields, b"", parser.should_keep_alive())
        held, self.large = self.large, None
        if held is not None:
            held.settle()
            self._accept(received._replace(body=held.as_body()))
        elif self.is_busy or self.backlog or self.waiting is None:
            self._refuse_behind()
        else:
            self.is_busy = True  # whatever follows stands behind it
            self.keep_alive = received.keep_alive
            self.parked = Parked(received, self.chunks, self.waiting)
            self.waiting = None
            self.chunks = []

    def _unpark(self, parked: Parked, held: Held | None) -> None:
        if held is None:
            self.keep_alive = False
            self.reply_error("overloaded", NO_ROOM, retry_after_s=RETRY_AFTER_S)
            return
        held.put_all(parked.chunks)
        held.settle()
        if not self.backlog and not self.is_refused:
            self.flow.resume_reading()
        self._begin(parked.received._replace(body=held.as_body(), keep_alive=self.keep_alive))

    def _refuse_behind(self) -> None:
        """A pipelined body without room behind an unanswered request: the connection ends after its reply."""
        self.room.refused += 1
        self._refuse("overloaded", NO_ROOM, retry_after_s=RETRY_AFTER_S)

    def _drop_body(self) -> None:
        """What has come of a body, or waits for room, is not needed any more."""
        self.chunks = []
        self.large = None
        if self.waiting is not None:
            self.waiting.leave()
            self.waiting = None
        if self.filling is not None:
            filling, self.filling = self.filling, None
            filling.stop()

    # -- one request at a time --------------------------------------------------------------------------

    def _pump(self) -> None:
        """Serve waiting requests in order, without recursion however many are answered at once."""
        self.is_pumping = True
        while self.backlog and not self.is_busy and not self.is_blocked and not self.transport.is_closing():
            self._begin(self.backlog.popleft())
        self.is_pumping = False
        if not self.backlog and not self.is_refused:
            self.flow.resume_reading()

    def _begin(self, received: Received) -> None:
        self.is_busy = True
        method, url, headers, body, self.keep_alive = received
        if method == b"POST" and self.serve(url, headers, body):
            return
        self._serve_app(received)

    def _serve_app(self, received: Received) -> None:
        path, _, query = received.url.partition(b"?")
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": "http",
            "method": received.method.decode("ascii"),
            "root_path": "",
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "headers": list(received.headers.items()),
            "state": self.app_state.copy(),
        }
        event = asyncio.Event()
        event.set()
        self.cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=event,
            expect_100_continue=False,
            keep_alive=received.keep_alive and not self.ticker.draining,
            on_response=self._app_replied,
        )
        self.cycle.body = bytearray(received.body)
        self.app_body = received.body
        self.cycle.more_body = False
        self._start_asgi_task(self.cycle, self.app)

    def _app_replied(self) -> None:
        self.app_body = b""
        if self.is_busy:
            self.keep_alive = self.cycle.keep_alive and not self.is_refused
            self._next()

    # -- deadlines, called by the server's sweep --------------------------------------------------------

    def is_idle(self) -> bool:
        return not (self.is_busy or self.is_reading or self.backlog)

    def check_deadline(self) -> None:
        """End the connection if its client was too slow; `ticker.now` is the time."""
        limits = self.limits
        waited_s = self.ticker.now - self.since
        if self.is_refused:
            if waited_s > limits.linger_s and not self.is_busy:
                self.transport.abort()
        elif self.is_blocked or self.transport.is_closing():
            # Closed, but still here: the client leaves unread what was written before. Such a rest can be
            # too small to block.
            if waited_s > limits.write_s:
                self.transport.abort()
        elif self.is_busy:
            return
        elif self.is_reading:
            if self.is_in_head:
                if waited_s > limits.head_s:
                    self._refuse("slow_client", f"The head did not arrive within {limits.head_s:g} s.")
            elif waited_s > limits.body_s + self.body_bytes / limits.body_bytes_per_s:
                self._refuse("slow_client", f"The body did not arrive within {limits.body_s:g} s.")
        elif waited_s > (limits.keep_alive_s if self.served else limits.head_s):
            self.transport.close()
