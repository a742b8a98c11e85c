"""HTTP: how many requests there are now, for whoever asks every second; only counts are read and told.

What `compare` says of the same minutes takes ten times as long, since it judges as well.
"""

import asyncio
from typing import Any

from fastapi import APIRouter

from gateway.control.api.paths import ModelPath
from gateway.control.body import StrictRoute
from gateway.control.caller import Caller
from gateway.control.parts import Control, Parts
from gateway.core.scores import ROLE_NAMES
from gateway.core.sums import read

router = APIRouter(tags=["evidence"], route_class=StrictRoute)

MAX_MODELS = 1000  # by name; with more nobody looks at all of them at once


@router.get("/traffic")
async def show_all_traffic(control: Control, caller: Caller) -> dict[str, Any]:
    """Of every model: the requests of each version in each role, in this minute and the one before."""
    models = sorted(filter(caller.sees, await control.catalogue.models()))[:MAX_MODELS]
    minute = (await control.fleet.workers()).now_ms // 60_000
    found = await asyncio.gather(*(_counts(control, model, minute) for model in models))
    return {"first_minute": minute - 1, "models": dict(zip(models, found, strict=True))}


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
