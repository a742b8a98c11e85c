"""Spans of a worker: one for each request of a sampled trace, and one for each run that has such requests.

A worker begins no trace of its own: whoever asks decides. The run's span lies under the first of its sampled
requests and is linked with all of them; the others are linked with it. Chosen at start where traces are on.

Must not know: where spans go. Made by `workers.app`.
"""

from typing import Any, ClassVar

from gateway.contract import headers as h
from gateway.contract.errors import TurnoutError, is_versions_fault
from gateway.traces.context import TRACEPARENT, TRACESTATE, parse
from gateway.traces.export import Exporter
from gateway.traces.span import Kind, Span
from workers.batcher import Batcher, Entry
from workers.batching import Outcome
from workers.server import WorkerProtocol

NAME = "POST /v2/models/{model}/infer"


class TracedWorkerProtocol(WorkerProtocol):
    """`exporter` is set on a subclass, as `service` is."""

    exporter: ClassVar[Exporter]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.span: Span | None = None  # of the request that waits

    def serve(self, url: bytes, headers: dict[bytes, bytes], body: bytes) -> bool:
        context = parse(headers.get(TRACEPARENT))
        if context is None or not context.is_sampled:
            return super().serve(url, headers, body)
        service = self.service
        self.span = span = Span(
            NAME,
            Kind.SERVER,
            {
                "turnout.model": service.model,
                "turnout.version": service.version,
                "http.request.method": "POST",
            },
            trace_id=context.trace_id,
            parent_id=context.span_id,
        )
        span.trace_state = headers.get(TRACESTATE, b"").decode("latin-1")
        if h.ATTEMPT in headers:
            span.attributes["turnout.attempt"] = headers[h.ATTEMPT].decode("latin-1")
        is_ours = super().serve(url, headers, body)
        if not is_ours:
            self.span = None
        return is_ours

    def told(self, outcome: Outcome) -> None:
        span, self.span = self.span, None  # first: the reply may begin this connection's next request
        super().told(outcome)
        if span is not None:
            self._end(span, outcome.code if isinstance(outcome, TurnoutError) else "")

    def client_gone(self) -> None:
        super().client_gone()
        self._refused("client_gone")

    def _refuse_request(self, error: TurnoutError) -> None:
        self._refused(error.code)
        super()._refuse_request(error)

    def _refused(self, code: str) -> None:
        span, self.span = self.span, None
        if span is not None:
            self._end(span, code)

    def _end(self, span: Span, code: str) -> None:
        if code:
            span.attributes["error.type"] = code
            span.error = code if is_versions_fault(code) else ""
        self.exporter.add(span)


class TracedBatcher(Batcher):
    exporter: Exporter  # set by whoever makes it

    def _execute(self, batch: list[Entry]) -> list[Outcome]:
        """Perhaps in the batcher's thread."""
        callers = [entry.caller for entry in batch]
        spans = [
            caller.span for caller in callers if isinstance(caller, TracedWorkerProtocol) and caller.span
        ]
        if not spans:
            return super()._execute(batch)
        about = {"turnout.requests": len(batch), "turnout.rows": sum(entry.rows or 1 for entry in batch)}
        run = spans[0].child("batch", Kind.INTERNAL, {**about})
        for span in spans:
            run.links.append((span.trace_id, span.span_id))
            if span is not spans[0]:
                span.links.append((run.trace_id, run.span_id))
        outcomes = super()._execute(batch)
        self.exporter.add(run)
        return outcomes
