"""Predictions with spans: a request's own, and one for each attempt. Chosen at start where traces are on.

Which requests: those whose client says that their trace is sampled, and a share of those that come without a
trace. All others go the usual way, and cost a look at one header more. Shadow copies bear the request's own
span as their parent, so that their workers' spans stand beside the attempts.

Must not know: where spans go.
"""

from random import random
from time import time
from typing import ClassVar

from gateway.contract.errors import STATUS_OF, is_versions_fault
from gateway.contract.reply import PLAIN_JSON
from gateway.dataplane.exchange import OWN_ID, Exchange
from gateway.dataplane.hedge import Hedged, Second
from gateway.dataplane.lane import Lane
from gateway.dataplane.lines import forwarded_lines
from gateway.dataplane.protocol import GatewayProtocol
from gateway.dataplane.table import Entry
from gateway.traces.context import TRACEPARENT, TRACESTATE, parse, traceparent
from gateway.traces.export import Exporter
from gateway.traces.span import Kind, Span
from gateway.upstream.outcome import Failure
from gateway.upstream.worker import Worker
from gateway.wire.protocol import HttpProtocol

UNSAMPLED = b"-00"  # the flags at the end of a `traceparent`
NAME = "POST /v2/models/{model}/infer"


class TracedProtocol(GatewayProtocol):
    """`exporter` is set on a subclass, as `table`, `lane` and `door` are."""

    exporter: ClassVar[Exporter]
    root: Span | None = None  # of the request that is about to be served

    def serve(self, url: bytes, headers: dict[bytes, bytes], body: bytes) -> bool:
        told = headers.get(TRACEPARENT)
        if told is None:
            if random() >= self.exporter.share:
                return super().serve(url, headers, body)
            self.root = Span(NAME, Kind.SERVER, {})
        else:
            if told.endswith(UNSAMPLED):  # by far the most usual: it need not be read
                return super().serve(url, headers, body)
            context = parse(told)
            if context is None:
                headers.pop(TRACESTATE, None)  # it belongs to a trace that nobody can name
                del headers[TRACEPARENT]
                return self.serve(url, headers, body)
            if not context.is_sampled:
                return super().serve(url, headers, body)
            self.root = Span(NAME, Kind.SERVER, {}, trace_id=context.trace_id, parent_id=context.span_id)
            self.root.trace_state = headers.get(TRACESTATE, b"").decode("latin-1")
        self.spare = None
        try:
            return super().serve(url, headers, body)
        finally:
            self.root = None

    def exchange(self, entry: Entry) -> Exchange:
        if self.root is None:
            return super().exchange(entry)
        kind = TracedExchange if entry.hedge_s is None else TracedHedged
        return kind(self.lane, self, self.exporter, self.root)


class TracedExchange(Exchange):
    """Ends its attempt's span with the attempt, and its own with the reply."""

    def __init__(self, lane: Lane, client: HttpProtocol, exporter: Exporter, root: Span) -> None:
        super().__init__(lane, client)
        self.exporter = exporter
        self.root = root
        self.attempt: Span | None = None

    # -- attempts ---------------------------------------------------------------------------------------

    def _send(self, worker: Worker | None, now: float) -> None:
        if worker is not None:
            self.attempt = self._begin_attempt(worker)
        super()._send(worker, now)

    def _begin_attempt(self, worker: Worker) -> Span:
        """A span, whose id the worker gets."""
        about: dict[str, str | int | float | bool] = {
            "server.address": worker.host,
            "server.port": worker.port,
            "turnout.worker": worker.worker_id,
            "turnout.version": self.target.version,
            "http.request.resend_count": self.attempts,
        }
        attempt = self.root.child("attempt", Kind.CLIENT, about)
        self._forward(attempt)
        return attempt

    def _forward(self, parent: Span) -> None:
        self.headers[TRACEPARENT] = traceparent(parent.trace_id, parent.span_id)
        self.forwarded = forwarded_lines(self.headers)

    def _end_span(self, span: Span | None, error: str = "") -> None:
        if span is not None:
            if error:
                span.error = span.attributes["error.type"] = error
            self.exporter.add(span)

    def _end_attempt(self, error: str = "") -> None:
        attempt, self.attempt = self.attempt, None
        self._end_span(attempt, error)

    def on_reply(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        if self.attempt is not None:
            self.attempt.attributes["http.response.status_code"] = status
        self._end_attempt(str(status) if status >= 500 else "")
        super().on_reply(status, headers, body)

    def on_failure(self, failure: Failure) -> None:
        self._end_attempt(failure.value)
        super().on_failure(failure)

    # -- the reply --------------------------------------------------------------------------------------

    def on_plain(self, worker_us: int, output: bytes | None, body: bytes, first: bytes = PLAIN_JSON) -> None:
        self._end_attempt()
        headers = self.headers
        if OWN_ID not in headers:  # made here, so that the span can name it
            headers[OWN_ID] = self.entry.recorder.new_place(time())[0]
        self._forward(self.root)
        super().on_plain(worker_us, output, body, first)
        self.root.attributes["turnout.prediction_id"] = headers[OWN_ID].decode("latin-1")
        self._finish(200)

    def _count_error(self, code: str) -> None:
        super()._count_error(code)
        if self.is_over:
            self._end_attempt(code)
            self._finish(STATUS_OF.get(code, 502), code)

    def _reject(self, code: str, message: str) -> None:
        super()._reject(code, message)
        self._finish(STATUS_OF[code], code)

    def _finish(self, status: int, code: str = "") -> None:
        about = self.root.attributes
        about["http.request.method"] = "POST"
        about["http.route"] = "/v2/models/{model}/infer"
        about["turnout.model"] = self.entry.model
        about["turnout.attempts"] = self.attempts
        if code != "client_gone":
            about["http.response.status_code"] = status
        target = getattr(self, "target", None)
        if target is not None:
            about["turnout.version"] = target.version
            about["turnout.revision"] = target.revision
            about["turnout.reason"] = self.reason
        if code:
            about["error.type"] = code
        self.root.error = code if code and is_versions_fault(code) else ""
        self.exporter.add(self.root)

    def _spare(self) -> None:
        """It belongs to one request."""


class TracedHedged(TracedExchange, Hedged):
    second_span: Span | None = None

    def _second_head(self, second: Second, left_ms: int) -> bytes:
        self.second_span = self._begin_attempt(second.worker)
        self.second_span.attributes["turnout.is_hedge"] = True
        return super()._second_head(second, left_ms)

    def second_won(self) -> None:
        self._end_attempt("gave way to the hedge")
        self.attempt, self.second_span = self.second_span, None
        super().second_won()

    def second_failed(self, failure: Failure) -> None:
        self._end_second(failure.value)
        super().second_failed(failure)

    def _give_up_second(self) -> None:
        self._end_second("gave way to the first attempt")
        super()._give_up_second()

    def _end_second(self, error: str) -> None:
        span, self.second_span = self.second_span, None
        self._end_span(span, error)
