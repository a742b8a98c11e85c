"""Which header lines pass the gateway, in both directions, and which wishes of a client are refused.

Must not know: routes, workers, what an exchange is. Called by `exchange` where a request or an answer is not
of the most usual kind.
"""

from gateway.contract import headers as h
from gateway.contract.names import is_prediction_id
from gateway.contract.reply import PLAIN_JSON

# Request headers that need a second look; most requests have none of them.
NOTABLE = frozenset({h.TIMEOUT_MS, h.PREDICTION_ID, b"content-encoding", *h.PASSED_TO_WORKER}) - {
    b"content-type"
}
THOUSANDTHS = tuple(b"%03d" % number for number in range(1000))  # formatting them costs five times as much
_REPLY_HEADERS = (b"content-type", h.JSON_LENGTH, b"retry-after", h.ERROR)


def wrong_wish(headers: dict[bytes, bytes]) -> tuple[str, str] | None:
    """What is wrong with a client's wishes: code and sentence."""
    timeout_ms = headers.get(h.TIMEOUT_MS, b"1")
    if len(timeout_ms) > 7 or not timeout_ms.isdigit() or int(timeout_ms) == 0:
        return "bad_request", "turnout-timeout-ms must be a whole number of milliseconds above 0."
    if not is_prediction_id(headers.get(h.PREDICTION_ID, b"none").decode("latin-1")):
        return (
            "bad_request",
            "turnout-prediction-id must be 1 to 64 letters, digits and ._:- and not begin with ._:-",
        )
    if b"content-encoding" in headers:
        return "unsupported_media_type", "Bodies must not be compressed: send them as they are."
    return None


def forwarded_lines(headers: dict[bytes, bytes]) -> bytes:
    """The client's headers that a worker gets."""
    lines = b""
    for name in h.PASSED_TO_WORKER:
        if name in headers:
            lines += b"%b: %b\r\n" % (name, headers[name])
    return lines


def returned_lines(headers: dict[bytes, bytes]) -> bytes:
    """A worker's reply headers that a client gets."""
    return b"".join(b"%b: %b\r\n" % (name, headers[name]) for name in _REPLY_HEADERS if name in headers)


def reply_head(first: bytes, head: bytes, prediction_id: bytes, gateway_us: int, worker_us: int) -> bytes:
    """Of an answer that is large, or that a worker says more about; `head` begins with `PLAIN_JSON`."""
    return b"%b%b%b\r\nserver-timing: gateway;dur=%d.%b, worker;dur=%d.%b\r\n" % (
        first,
        head[len(PLAIN_JSON) :],
        prediction_id,
        gateway_us // 1000,
        THOUSANDTHS[gateway_us % 1000],
        worker_us // 1000,
        THOUSANDTHS[worker_us % 1000],
    )
