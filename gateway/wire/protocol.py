"""An HTTP/1.1 connection that hands over whole requests and keeps its limits.

A subclass of uvicorn's httptools protocol. Every request is collected completely (its size and time are
bounded), then offered to `serve`, which answers straight from the transport's callback or later; what `serve`
does not take goes to the ASGI application as uvicorn would do it. Requests on one connection are answered in
order, one at a time. A plain request is read here (`plain`), every other one by a `reading.Reading`.

One class, since every part of it changes the one state of a connection: who is served, who stands behind, and
since when the client lets it wait.

Must not know: routes, models, tensors. Subclassed by `gateway.dataplane` and `workers.server`.
"""

import asyncio
from collections import deque
from typing import Any, ClassVar

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.wire.limits import Limits
from gateway.wire.plain import LOOK_AGAIN, Head, Heads, Plain, Shape, read_plain
from gateway.wire.reading import RETRY_AFTER_S, Reading, Received
from gateway.wire.replies import error_body, error_head
from gateway.wire.room import Room
from gateway.wire.scope import scope_of

SMALL_BYTES = 16 * 1024  # a body that is cheaper to copy behind its head than to write apart
TOO_MANY = "Too many connections are open: keep connections alive and use fewer, or try again."


class Ticker:
    """What a server's connections share: a coarse clock (`now` is at most one sweep old), whether it drains,
    and how many connections it turned away."""

    __slots__ = ("draining", "now", "turned_away")

    def __init__(self, now: float) -> None:
        self.now = now
        self.draining = False
        self.turned_away = 0


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
        self.parser = None  # type: ignore[assignment]  # uvicorn's: `Reading` has its own
        self.reading: Reading | None = None  # of what is not plain, from the first such request on
        self.reader: Head | None = None  # of what is like the last request
        self.shape: Shape | None = None  # ... in its header names
        self.misfits = 0  # requests that `reader` did not read
        self.app_body = b""  # that the application is given, in a copy: counts until the reply
        self.serving: Any = None  # what `serve` keeps for a request; dropped with the reply
        self.spare: Any = None  # ... and keeps to use it again
        self.is_reading = False  # part of a request has come
        self.is_busy = False  # a request is being served
        self.is_pumping = False
        self.is_refused = False  # an error was sent that ends the connection; discard what still comes
        self.is_blocked = False  # the client does not read its reply
        self.keep_alive = True
        self.served = 0
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

    def refuse(self, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        """Answer an error that ends the connection, and let the client read it before the end."""
        if self.is_refused or self.transport.is_closing():
            return
        self.is_refused = True
        if self.reading is not None:
            self.reading.body.drop()
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
        was_reading, self.is_reading = self.is_reading, True
        if not (was_reading or self.is_busy):
            self.since = self.ticker.now
        if self.reading is None:
            self.reading = self.new_reading()
        self.reading.feed(data, was_reading=was_reading)

    def new_reading(self) -> Reading:
        return Reading(self)

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
        if self.reading is not None:
            self.reading.stop()
            self.reading = None
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

    # -- one request at a time --------------------------------------------------------------------------

    def accept(self, received: Received) -> None:
        """It has come whole: serve it when its turn has come."""
        if self.is_busy or self.backlog or self.is_blocked:
            self.flow.pause_reading()
            self.backlog.append(received)
        else:
            self.begin(received)

    def _pump(self) -> None:
        """Serve waiting requests in order, without recursion however many are answered at once."""
        self.is_pumping = True
        while self.backlog and not self.is_busy and not self.is_blocked and not self.transport.is_closing():
            self.begin(self.backlog.popleft())
        self.is_pumping = False
        if not self.backlog and not self.is_refused:
            self.flow.resume_reading()

    def begin(self, received: Received) -> None:
        self.is_busy = True
        method, url, headers, body, self.keep_alive = received
        if method == b"POST" and self.serve(url, headers, body):
            return
        self._serve_app(received)

    def _serve_app(self, received: Received) -> None:
        event = asyncio.Event()
        event.set()
        self.cycle = RequestResponseCycle(
            scope=scope_of(self, received),
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
        elif self.is_reading and self.reading is not None:
            if late := self.reading.lateness(waited_s):
                self.refuse("slow_client", late)
        elif waited_s > (limits.keep_alive_s if self.served else limits.head_s):
            self.transport.close()
