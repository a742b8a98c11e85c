"""Log lines about requests that did not go as they should: bounded, so that a fault does not fill a disk.

A line bears what names the request everywhere else: the caller's own id, the prediction's, the trace's, and
the revision that decided. What is beyond the bound is counted, and told with the next line.

Must not know: how a line is written. Called by `exchange` and `hedge`.
"""

import logging
from time import monotonic

from gateway.contract import headers as h
from gateway.contract.logs import MOST_REQUEST_ID, REQUEST_ID
from gateway.dataplane.table import Target
from gateway.traces.context import TRACEPARENT, trace_id_of

MOST_A_SECOND = 10
log = logging.getLogger("turnout.gateway.requests")


class Incidents:
    """Of one process."""

    def __init__(self) -> None:
        self.window_s = 0.0
        self.said = 0  # in this second
        self.left_out = 0  # since the last line

    def say(self, what: str, target: Target, headers: dict[bytes, bytes], about: dict[str, object]) -> None:
        """`what` of the target failed; `headers`: the request's; `about`: the error, and further fields."""
        now_s = monotonic()
        if now_s - self.window_s >= 1:
            self.window_s, self.said = now_s, 0
        if self.said >= MOST_A_SECOND:
            self.left_out += 1
            return
        self.said += 1
        if self.left_out:
            about["left_out"], self.left_out = self.left_out, 0
        about |= {"model": target.model, "version": target.version, "revision": target.revision}
        log.warning(
            "%s %s %s failed: %s",
            *(what, target.model, target.version, about["error"]),
            extra=about | named(headers),
        )


def named(headers: dict[bytes, bytes]) -> dict[str, str]:
    """The ids of a request, as far as it has them."""
    found = {
        "request_id": headers.get(REQUEST_ID, b"").decode("latin-1")[:MOST_REQUEST_ID],
        "prediction_id": headers.get(h.PREDICTION_ID, b"").decode("latin-1"),
        "trace_id": trace_id_of(headers.get(TRACEPARENT)),
    }
    return {name: text for name, text in found.items() if text}
