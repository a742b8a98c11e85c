"""Sends ended spans to a receiver of OTLP over HTTP, off everybody's way.

Spans wait in a bounded buffer, and are sent some hundred at a time. A receiver that is away, slow or full
costs nothing but the spans: what was taken out is kept and tried again, ever less often, and what comes
meanwhile and does not fit is dropped and counted. What the receiver refuses for good is dropped as well.

Must not know: what a span is about. Owned by a gateway process and by a worker.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from time import time_ns

from gateway.traces.otlp import encode_span, request_of
from gateway.traces.settings import TraceSettings, receiver
from gateway.traces.span import Attribute, Span

BOUND = 8192  # spans that wait: about 8 MB
BATCH = 512  # spans in one request: about 150 KB
AT_ONCE = 32  # spans that are encoded without a look at other work: about 0.3 ms
FLUSH_S = 1.0
SEND_S = 5.0  # for one request, from connecting to the reply's head
FIRST_PAUSE_S = 1.0
LAST_PAUSE_S = 30.0
LAST_SEND_S = 1.0
_AGAIN = frozenset({429, 502, 503, 504})  # OTLP 1, "Failures": may be sent again
_PATH = "/v1/traces"
log = logging.getLogger("turnout.traces")


class Exporter:
    """`add` may be called from any thread; everything else belongs to the loop."""

    def __init__(self, settings: TraceSettings, resource: Mapping[str, Attribute]) -> None:
        self.share = settings.share
        self.resource = resource
        self.address = _Address(settings.otlp_endpoint, settings.headers)
        self.waiting: deque[Span] = deque()
        self.unsent: tuple[bytes, int] | None = None  # a request with its number of spans
        self.exported = 0
        self.dropped = 0
        self._is_away = False

    def add(self, span: Span) -> None:
        """The span has ended."""
        span.end_ns = time_ns()
        if len(self.waiting) >= BOUND:
            self.dropped += 1
        else:
            self.waiting.append(span)

    async def run(self) -> None:
        """Until cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            await asyncio.sleep(FLUSH_S)
            while self.waiting or self.unsent is not None:
                if await self.send(within_s=SEND_S):
                    pause_s = FIRST_PAUSE_S
                else:
                    await asyncio.sleep(pause_s)
                    pause_s = min(LAST_PAUSE_S, pause_s * 2)

    async def finish(self) -> None:
        """The process ends: one more try, and what is left is dropped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SEND_S):
                while (self.waiting or self.unsent is not None) and await self.send(within_s=LAST_SEND_S):
                    pass
        self.dropped += len(self.waiting) + (0 if self.unsent is None else self.unsent[1])
        self.waiting.clear()
        self.unsent = None

    async def send(self, *, within_s: float) -> bool:
        """One request; False when the receiver is to be left alone for a while."""
        if self.unsent is None:
            self.unsent = await self._next_request()
        body, count = self.unsent
        try:
            async with asyncio.timeout(within_s):
                status = await self.address.post(body)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self._say_away(str(error) or "no answer in time")
            return False
        if status in _AGAIN:
            self._say_away(f"it answers {status}")
            return False
        self.unsent = None
        if 200 <= status < 300:
            self.exported += count
            if self._is_away:
                log.info("traces are sent again to %s", self.address.url)
            self._is_away = False
        else:
            self.dropped += count
            self._say_away(f"it answers {status}, and refused {count} spans for good")
        return True

    async def _next_request(self) -> tuple[bytes, int]:
        taken = [self.waiting.popleft() for _ in range(min(BATCH, len(self.waiting)))]
        encoded: list[bytes] = []
        try:
            for first in range(0, len(taken), AT_ONCE):
                encoded += map(encode_span, taken[first : first + AT_ONCE])
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.waiting.extendleft(reversed(taken))  # the process ends: `finish` sends them
            raise
        return request_of(encoded, self.resource, scope="turnout", version=""), len(encoded)

    def _say_away(self, why: str) -> None:
        if not self._is_away:
            log.warning("traces are not sent to %s: %s", self.address.url, why)
        self._is_away = True


class _Address:
    """A receiver: one connection for each request, which is one a second at most."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        parts = receiver(endpoint)
        assert parts is not None, "settings were checked"
        assert parts.hostname is not None
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.host = parts.hostname
        self.port = parts.port or (443 if self.tls else 80)
        path = parts.path.rstrip("/")
        path = path if path.endswith(_PATH) else path + _PATH
        self.url = f"{parts.scheme}://{parts.netloc}{path}"
        lines = {
            "host": parts.netloc,
            "content-type": "application/x-protobuf",
            "connection": "close",
            **headers,
        }
        told = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.head = f"POST {path} HTTP/1.1\r\n{told}".encode()

    async def post(self, body: bytes) -> int:
        """The reply's status. Raises OSError (TimeoutError is one), IncompleteReadError or ValueError."""
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self.tls)
        try:
            writer.write(b"%bcontent-length: %d\r\n\r\n" % (self.head, len(body)))
            writer.write(body)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            return int(head.split(b" ", 2)[1])
        except IndexError:
            raise ValueError("it does not speak HTTP") from None
        finally:
            writer.close()
