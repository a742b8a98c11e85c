"""HTTP: how many requests a model has now, for whoever asks every second; only counts are read and told.

What `compare` says of the same minutes takes ten times as long, since it judges as well. Of all models
`GET /overview` tells rates; here are counts of one, so that who looks at one makes nobody read the others.
"""

from typing import Any

from fastapi import APIRouter

from gateway.control.api.paths import ModelPath
from gateway.control.body import StrictRoute
from gateway.control.parts import Control, Parts
from gateway.core.evidence.scores import ROLE_NAMES
from gateway.core.evidence.sums import read

router = APIRouter(tags=["evidence"], route_class=StrictRoute)


@router.get("/models/{model}/traffic")
async def show_traffic(model: ModelPath, control: Control) -> dict[str, Any]:
    """The same of one model."""
    minute = (await control.fleet.workers()).now_ms // 60_000
    return {"model": model, "first_minute": minute - 1, "versions": await _counts(control, model, minute)}


async def _counts(control: Parts, model: str, minute: int) -> list[dict[str, Any]]:
    table = read(await control.predictions.evidence(model, minute - 1, minute, with_confusion=False))
    return [
        {
            "version": version,
            "role": ROLE_NAMES[role],
            "requests": round(sums["n"]),
            "errors": {code: round(count) for code, count in sums.errors().items()},
        }
        for (role, version), sums in sorted(table.roles.items())
    ]
