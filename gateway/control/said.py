"""What the control process logs about calls: one line for each that changes something, or fails.

While a call is handled every other line of the process bears its request id as well (`add_request_id`), so
that what a commit did can be found from what a caller was told. Called by `gate` and `turnout control`.
"""

import logging
import time

from starlette.types import Scope

from gateway.store.documents import REQUEST_ID
from gateway.traces.context import trace_id_of

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_FAULT = 500
log = logging.getLogger("turnout.control.calls")


class Said:
    """One call; `status` is set when its reply begins."""

    def __init__(self, scope: Scope, request_id: str, traceparent: str) -> None:
        self.status = 0
        self._scope = scope
        self._request_id = request_id
        self._traceparent = traceparent
        self._began_s = time.perf_counter()

    def ended(self, caller: str) -> None:
        """`caller`: the key's name, or empty."""
        method = self._scope["method"]
        if method in _READS and self.status < _OWN_FAULT:
            return
        path = self._scope["path"][:200]
        about = {
            "request_id": self._request_id,
            "status": self.status,
            "took_ms": round((time.perf_counter() - self._began_s) * 1000, 1),
            "caller": caller,
            "trace_id": trace_id_of(self._traceparent.encode("latin-1", "replace")),
        }
        level = logging.WARNING if self.status >= _OWN_FAULT else logging.INFO
        log.log(
            level, "%s %s %d", method, path, self.status, extra={k: v for k, v in about.items() if v != ""}
        )


def add_request_id(record: logging.LogRecord) -> bool:
    """A filter of the log's handler that leaves nothing out."""
    if not hasattr(record, "request_id") and (request_id := REQUEST_ID.get()):
        record.request_id = request_id
    return True
