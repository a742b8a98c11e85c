"""A few requests of each model that are kept: recent ones, and those where a shadow differed most.

Between two flushes one request and one disagreement of each pair are held, so that the cost does not grow
with traffic. Bodies are kept only where the route says so (`record.bodies`): they may be private.

Must not know: HTTP, Redis. Filled by `exchange` and `shadower`, written by the recorder's flush.
"""

import base64
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.contract.record import MAX_SAMPLE_BYTES, Kind, id_of
from gateway.dataplane.outputs import rows_of


@dataclass(slots=True)
class Samples:
    """What one model's recorder holds until its next flush."""

    request: bytes | None = None  # a JSON body
    inputs: list[tuple[str, bytes, bytes | None]] = field(default_factory=list)  # version, body, JSON length
    worst: dict[tuple[str, str], tuple[float, bytes]] = field(default_factory=dict)  # pair -> score, JSON

    def differed(
        self,
        pair: tuple[str, str],
        *,
        place: tuple[str, bytes],
        at_s: float,
        outputs: tuple[bytes, bytes],
        kind: Kind,
        body: bytes | None,
    ) -> None:
        """A shadow's output differs from the primary's. Of numbers the farthest apart is kept, of classes the
        newest."""
        apart = _apart(*outputs) if kind is Kind.NUMBER else None
        score = at_s if apart is None else apart
        held = self.worst.get(pair)
        if held is not None and (apart is None or held[0] >= score):
            return
        told: dict[str, Any] = {
            "prediction_id": id_of(*place),
            "at_ms": int(at_s * 1000),
            "primary": orjson.Fragment(outputs[0]),
            "shadow": orjson.Fragment(outputs[1]),
            "apart": apart,
        }
        if body is not None and len(body) <= MAX_SAMPLE_BYTES:
            told["body"] = base64.b64encode(body).decode()
        self.worst[pair] = (score, orjson.dumps(told))


def _apart(one: bytes, other: bytes) -> float:
    """The largest relative difference of two rows; rows that are no numbers count as far apart."""
    try:
        pairs = zip(rows_of(one), rows_of(other), strict=True)
        return float(max(abs(a - b) / max(abs(a), abs(b), 1e-12) for a, b in pairs))
    except (TypeError, ValueError):
        return 2.0
