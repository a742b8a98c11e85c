"""HTTP: who still pins versions that end, so that somebody can tell them before these are gone."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.contract import keys
from gateway.control.access.door import key_in
from gateway.control.api.paths import ModelPath
from gateway.control.body import StrictRoute
from gateway.control.parts import Control, Parts
from gateway.control.routing.governance import standings_of
from gateway.store.pins import DAY_S, DAYS_KEPT

router = APIRouter(tags=["governance"], route_class=StrictRoute)


@router.get("/models/{model}/pins")
async def list_pins(
    model: ModelPath, control: Control, days: Annotated[int, Query(ge=1, le=DAYS_KEPT)] = 7
) -> dict[str, Any]:
    """By version and caller, of deprecated versions that were pinned in the last days; most first."""
    today = await control.pins.today()
    found = await control.pins.read(model, range(today - days + 1, today + 1))
    standings = await standings_of(control, model)
    names = await _names(control, {caller for _, caller in found})
    told: list[dict[str, Any]] = []
    for (version, caller), (number, last) in found.items():
        standing = standings.get(version)
        told.append(
            {
                "version": version,
                "caller": caller,
                "name": names.get(caller, ""),
                "predictions": number,
                "last_day": datetime.fromtimestamp(last * DAY_S, UTC).date().isoformat(),
                "state": standing.state if standing else "registered",
                "sunset_at": standing.sunset_at if standing else None,
            }
        )
    told.sort(key=lambda item: (item["version"], -item["predictions"]))
    return {"model": model, "days": days, "pins": told}


async def _names(control: Parts, callers: set[str]) -> dict[str, str]:
    """Of keys that there are still."""
    ids = sorted(caller.removeprefix("key ") for caller in callers if caller.startswith("key "))
    if not ids:
        return {}
    found = await control.documents.several([keys.key_field(key_id) for key_id in ids])
    read = zip(ids, map(key_in, found), strict=True)
    return {f"key {key_id}": key.name for key_id, key in read if key is not None}
