"""What is kept of one prediction, or the sentence that says why nothing is.

Called by the handlers that show and explain predictions.
"""

from dataclasses import asdict
from typing import Any

from gateway.contract.errors import CallerError
from gateway.contract.evidence import PRIMARY
from gateway.contract.record import made_at_ms
from gateway.contract.route import Record, Route
from gateway.control.parts import Parts
from gateway.control.registry.versions import unknown_model, versions_of
from gateway.control.routing.stored import read_stored
from gateway.core.evidence.scores import ROLE_NAMES
from gateway.core.recall import reason_of
from gateway.store.predictions import Found, Recorded


async def recorded(control: Parts, model: str, prediction_id: str) -> Found:
    """The primary's record first. Raises CallerError: `unknown_model`, `unknown_prediction`, `expired`."""
    found = await control.predictions.find(model, prediction_id)
    if found.records and found.records[0].role == PRIMARY:
        return found
    stored = await read_stored(control.documents, model)
    if not stored.exists and not await versions_of(control.documents, model):
        raise unknown_model(model)
    kept = Record() if stored.route is None else stored.route.record
    made_ms = made_at_ms(prediction_id)
    if made_ms is None:
        raise CallerError(
            "unknown_prediction",
            f"{model} has no prediction {prediction_id}; one that there was is kept for {kept.ttl_s} s",
        )
    now_ms = (await control.fleet.workers()).now_ms
    if now_ms - made_ms > kept.ttl_s * 1000:
        raise CallerError(
            "expired",
            f"prediction {prediction_id} is kept no longer: it was made {(now_ms - made_ms) // 1000} s ago, "
            f"and {model} keeps them for {kept.ttl_s} s",
        )
    unless = "" if kept.percent == 100 else f", or it belongs to the {100 - kept.percent:g} % not recorded"
    raise CallerError(
        "unknown_prediction",
        f"{model} has no prediction {prediction_id}: nothing is recorded under this id{unless}",
    )


def told(record: Recorded, route: Route | None) -> dict[str, Any]:
    """A record in words; `route` is the one of its revision, as far as it is known."""
    said = asdict(record)
    rule = said.pop("rule")
    reason = reason_of(route, reason=record.reason, rule=rule)
    return {**said, "role": ROLE_NAMES[record.role], "kind": record.kind.name.lower(), "reason": reason}
