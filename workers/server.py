"""One connection to a worker: inference requests straight from the parser to the batcher and back.

No ASGI, no task and no future for a prediction: `serve` reads and queues, `told` writes. Everything else is
answered by the small application in `workers.pages`.

Must not know: ONNX, Redis. Made by `workers.app` (a subclass with its `service`).
"""

import logging
from time import perf_counter
from typing import Any, ClassVar

from gateway.contract import headers as h
from gateway.contract.errors import TurnoutError
from gateway.contract.logs import MOST_REQUEST_ID, REQUEST_ID
from gateway.contract.reply import plain_head
from gateway.traces.context import TRACEPARENT, trace_id_of
from gateway.wire.protocol import HttpProtocol
from gateway.wire.replies import STATUS_LINE, error_body, error_head
from workers.batcher import Entry
from workers.batching import Outcome
from workers.protocol import InferRequest
from workers.replies import JSON_HEAD
from workers.service import Service

log = logging.getLogger("turnout.worker")

_OK = STATUS_LINE[200]
_ATTEMPT_LINE = h.ATTEMPT + b": "
RETRY_AFTER_S = 1
_NOTHING = InferRequest(None, [], (), ())
_AGAIN = frozenset({"overloaded", "not_ready", "draining"})


class WorkerProtocol(HttpProtocol):
    service: ClassVar[Service]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entry: Entry | None = None  # while a request of this connection waits
        self.request = _NOTHING
        self.head: dict[bytes, bytes] = {}
        self.started = 0.0

    def serve(self, url: bytes, headers: dict[bytes, bytes], body: bytes) -> bool:
        service = self.service
        if url not in service.infer_urls and not service.is_infer(url):
            return False
        self.started = started = perf_counter()
        self.head = headers
        try:
            if not service.has_model:
                raise TurnoutError("not_ready", f"The model {service.model} is still being loaded.")
            if b"content-encoding" in headers:
                _refuse_compression(headers[b"content-encoding"])
            expires_at = _expiry(headers[h.TIMEOUT_MS], started) if h.TIMEOUT_MS in headers else 0.0
            self.request = request = service.reader.read(body, headers.get(h.JSON_LENGTH))
            self.entry = service.batcher.submit(self, request.inputs, arrived=started, expires_at=expires_at)
        except TurnoutError as error:
            self._refuse_request(error)
        except Exception:  # a bug: the caller hears that it was not its fault, and the log says what
            log.exception("a request could not be read", extra=self._about())
            self._refuse_request(TurnoutError("internal", "The worker failed; its log says why."))
        return True

    def told(self, outcome: Outcome) -> None:
        """The batcher's answer to this connection's request."""
        self.entry = None
        if isinstance(outcome, TurnoutError):
            if outcome.code == "internal":
                log.error("inference failed: %s", outcome.message, extra=self._about())
            self._refuse_request(outcome)
            return
        service = self.service
        headers = self.head
        request, self.request = self.request, _NOTHING  # an idle connection must not keep its last tensors
        try:
            lines, body = service.writer.write(request, outcome)
            record = headers.get(h.RECORD)
            line = None if record is None else service.writer.recorded(record, outcome)
        except Exception:
            log.exception("a reply could not be written", extra=self._about())
            self._refuse_request(TurnoutError("internal", "The worker failed; its log says why."))
            return
        attempt = headers.get(h.ATTEMPT)
        worker_us = int((perf_counter() - self.started) * 1e6)
        service.tally.outcomes["ok"] += 1
        if attempt is not None and lines is JSON_HEAD:
            echo = attempt + service.echo_end
            head = plain_head(attempt=echo, version=service.version_bytes, worker_us=worker_us, output=line)
        else:
            head = b"%b%b%b%b: %d\r\n" % (_OK, service.version_line, lines, h.WORKER_TIME, worker_us)
            if attempt is not None:
                head += _ATTEMPT_LINE + attempt + service.echo_end + b"\r\n"
            if line is not None:
                head += h.OUTPUT + b": " + line + b"\r\n"
        self.reply(head, body)

    def client_gone(self) -> None:
        entry, self.entry = self.entry, None
        if entry is not None:
            self.service.tally.outcomes["client_gone"] += 1
            self.service.batcher.forget(entry)

    def _about(self) -> dict[str, str]:
        """What names this request in a log line."""
        headers = self.head
        return {
            "model": self.service.model,
            "version": self.service.version,
            "request_id": headers.get(REQUEST_ID, b"").decode("latin-1")[:MOST_REQUEST_ID],
            "trace_id": trace_id_of(headers.get(TRACEPARENT)),
        }

    def _refuse_request(self, error: TurnoutError) -> None:
        service = self.service
        self.request = _NOTHING
        service.tally.outcomes[error.code] += 1
        head = error_head(error.code, retry_after_s=RETRY_AFTER_S if error.code in _AGAIN else None)
        attempt = self.head.get(h.ATTEMPT)
        if attempt is not None:
            head += _ATTEMPT_LINE + attempt + service.echo_end + b"\r\n"
        self.reply(head + service.version_line, error_body(error.message))


def _expiry(timeout_ms: bytes, started: float) -> float:
    if not timeout_ms.isdigit() or len(timeout_ms) > 12:
        raise TurnoutError("bad_request", "turnout-timeout-ms must be a whole number of milliseconds.")
    return started + int(timeout_ms) / 1000


def _refuse_compression(encoding: bytes) -> None:
    if encoding.lower() != b"identity":
        raise TurnoutError(
            "unsupported_media_type",
            f"Content-Encoding {encoding.decode('latin-1')!r}: send bodies uncompressed.",
        )
