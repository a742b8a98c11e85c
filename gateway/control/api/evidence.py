"""HTTP: how the versions of a model do, and what became of one prediction."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from gateway.contract.errors import CallerError
from gateway.contract.names import PREDICTION_ID_PATTERN, is_version_name
from gateway.control.api.models import ModelPath
from gateway.control.body import StrictRoute
from gateway.control.decided import Decided, decided_then
from gateway.control.parts import Control
from gateway.control.recorded import recorded, told
from gateway.control.registry import unknown_model, versions_of
from gateway.core.compare import compare, to_json

router = APIRouter(tags=["evidence"], route_class=StrictRoute)

PredictionPath = Annotated[str, Path(pattern=PREDICTION_ID_PATTERN)]

MAX_SINCE_S = 8 * 86_400  # evidence is kept for eight days


@router.get("/models/{model}/compare")
async def compare_versions(
    model: ModelPath,
    control: Control,
    since_s: Annotated[int, Query(ge=60, le=MAX_SINCE_S)] = 86_400,
    versions: Annotated[str | None, Query(description="names separated by commas; absent = all")] = None,
    margin: Annotated[
        float, Query(ge=0, le=1e9, description="how much worse a version may be (0.01: a point of accuracy)")
    ] = 0.0,
) -> dict[str, Any]:
    """Versions side by side over the last `since_s` seconds, in whole minutes."""
    registered = await versions_of(control.documents, model)
    if not registered:
        raise unknown_model(model)
    asked = [name for name in versions.split(",") if name] if versions is not None else None
    for name in asked or ():
        if not is_version_name(name) or name not in registered:
            known = ", ".join(sorted(registered))
            raise CallerError("unknown_version", f"{model} has no version {name} (it has: {known})")
    minute = (await control.fleet.workers()).now_ms // 60_000
    first = minute - -(-since_s // 60)
    evidence = await control.predictions.evidence(model, first, minute)
    return {
        "model": model,
        "since_s": since_s,
        "first_minute": first,
        "last_minute": minute,
        **to_json(compare(evidence, versions=asked, margin=margin)),
    }


@router.get("/models/{model}/predictions/{prediction_id}")
async def show_prediction(
    model: ModelPath,
    prediction_id: PredictionPath,
    control: Control,
) -> dict[str, Any]:
    """Who answered, why, the shadows' answers, and the label, as long as the prediction is kept."""
    found = await recorded(control, model, prediction_id)
    primary = found.records[0]
    then = None if primary.rule is None else await decided_then(control.documents, model, primary.revision)
    return {
        "model": model,
        "prediction_id": prediction_id,
        "label": found.label,
        "reward": found.reward,
        "records": [
            told(record, then.compiled.route if isinstance(then, Decided) else None)
            for record in found.records
        ],
    }
