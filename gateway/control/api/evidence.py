"""HTTP: how the versions of a model do, and what became of one prediction."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from gateway.contract.bins import middle_of
from gateway.contract.errors import CallerError
from gateway.contract.names import PREDICTION_ID_PATTERN, VERSION_PATTERN, is_version_name
from gateway.control.api.paths import ModelPath
from gateway.control.body import StrictRoute
from gateway.control.parts import Control, Parts
from gateway.control.recorded import recorded, told
from gateway.control.registry.versions import unknown_model, versions_of
from gateway.control.routing.decided import Decided, decided_then
from gateway.core.evidence.compare import Comparison, compare, compare_table, to_json
from gateway.core.evidence.confusion import confusions
from gateway.core.evidence.drift import drift, shift
from gateway.core.evidence.scores import ROLE_NAMES
from gateway.core.evidence.series import series
from gateway.core.evidence.slices import worse_in
from gateway.core.evidence.sums import Table, read

router = APIRouter(tags=["evidence"], route_class=StrictRoute)

PredictionPath = Annotated[str, Path(pattern=PREDICTION_ID_PATTERN)]

MAX_SINCE_S = 8 * 86_400  # evidence is kept for eight days
LONG_S = 6 * 3600
VersionQuery = Annotated[str, Query(pattern=VERSION_PATTERN)]
SinceS = Annotated[int, Query(ge=60, le=MAX_SINCE_S)]


@router.get("/models/{model}/compare")
async def compare_versions(
    model: ModelPath,
    control: Control,
    since_s: SinceS = 86_400,
    versions: Annotated[str | None, Query(description="names separated by commas; absent = all")] = None,
    margin: Annotated[
        float, Query(ge=0, le=1e9, description="how much worse a version may be (0.01: a point of accuracy)")
    ] = 0.0,
) -> dict[str, Any]:
    """Versions side by side over the last `since_s` seconds, in whole minutes (from six hours on: hours)."""
    registered = await versions_of(control.documents, model)
    if not registered:
        raise unknown_model(model)
    asked = [name for name in versions.split(",") if name] if versions is not None else None
    for name in asked or ():
        if not is_version_name(name) or name not in registered:
            known = ", ".join(sorted(registered))
            raise CallerError("unknown_version", f"{model} has no version {name} (it has: {known})")
    minute = (await control.fleet.workers()).now_ms // 60_000
    first = first_minute(minute, since_s)
    evidence = await control.predictions.evidence(model, first)
    return {
        "model": model,
        "since_s": since_s,
        "first_minute": first,
        "last_minute": minute,
        **to_json(compare(evidence, versions=asked, margin=margin)),
    }


@router.get("/models/{model}/slices")
async def compare_slices(model: ModelPath, control: Control, since_s: SinceS = 86_400) -> dict[str, Any]:
    """Errors and scores of each version for each value of the headers that the route slices by; `worse` names
    those in which a version scores worse than the busiest one, false for any with probability `alpha`."""
    table = read(await _evidence(control, model, since_s))
    whole = compare_table(table)
    slices = [
        {"header": header, "value": value, **to_json(compare_table(part))}
        for (header, value), part in table.slices.items()
    ]
    slices.sort(key=lambda part: (part["header"], -sum(row["requests"] for row in part["versions"])))
    worse = await asyncio.to_thread(_worse, table, whole)
    return {"model": model, "since_s": since_s, "alpha": whole.alpha, "slices": slices, "worse": worse}


@router.get("/models/{model}/confusion")
async def show_confusion(model: ModelPath, control: Control, since_s: SinceS = 86_400) -> dict[str, Any]:
    """What each version took for what, in each role: labels against answers."""
    table = read(await _evidence(control, model, since_s))
    found = [to_json(matrix) for matrix in confusions(table)]
    return {"model": model, "since_s": since_s, "confusion": found}


@router.get("/models/{model}/distributions")
async def show_distributions(model: ModelPath, control: Control, since_s: SinceS = 86_400) -> dict[str, Any]:
    """How often each version gave each answer; numbers by bins, named by the number in their middle."""
    table = read(await _evidence(control, model, since_s))
    return {
        "model": model,
        "since_s": since_s,
        "outputs": [
            {"version": version, "role": ROLE_NAMES[role], "counts": counts, "numbers": _numbers(counts)}
            for (role, version), counts in sorted(table.outputs.items())
        ],
    }


@router.get("/models/{model}/drift")
async def show_drift(
    model: ModelPath,
    control: Control,
    since_s: SinceS = 3600,
    reference_s: SinceS = 86_400,
    alpha: Annotated[float, Query(gt=0, lt=0.5)] = 0.01,
) -> dict[str, Any]:
    """How far what versions answered in the last `since_s` is from what they answered in the `reference_s`
    before. No label is needed; where nothing changed, `is_alarm` is ever true with probability alpha."""
    if not await versions_of(control.documents, model):
        raise unknown_model(model)
    minute = (await control.fleet.workers()).now_ms // 60_000
    begins = minute - -(-since_s // 60)
    current = read(await control.predictions.evidence(model, begins))
    before = read(await control.predictions.evidence(model, begins - -(-reference_s // 60), begins - 1))
    found = []
    for (role, version), counts in sorted(current.outputs.items()):
        reference = before.outputs.get((role, version), {})
        moved = await asyncio.to_thread(drift, reference, counts, alpha=alpha)
        told = {"version": version, "role": ROLE_NAMES[role], "is_alarm": moved.doubt <= alpha}
        found.append(told | to_json(moved) | {"numbers": _numbers({**counts, **reference})})
    return {
        "model": model,
        "since_s": since_s,
        "reference_s": reference_s,
        "alpha": alpha,
        "drift": found,
        "features": await asyncio.to_thread(_feature_drift, before, current, alpha=alpha),
    }


@router.get("/models/{model}/series")
async def show_series(
    model: ModelPath,
    control: Control,
    since_s: SinceS = 3600,
    step_s: Annotated[int, Query(ge=60, le=86_400)] = 60,
) -> dict[str, Any]:
    """Each version over time: the running score with its confidence sequence, and what happened in each step.
    From six hours on the steps are whole hours at least."""
    evidence = await _evidence(control, model, since_s, whole_hours=since_s >= LONG_S)
    lines = series(evidence, step_minutes=-(-step_s // 60))
    return {"model": model, "since_s": since_s, "series": [to_json(line) for line in lines]}


@router.get("/models/{model}/disagreements")
async def list_disagreements(
    model: ModelPath, control: Control, primary: VersionQuery, shadow: VersionQuery
) -> dict[str, Any]:
    """A few requests where the shadow differed: the farthest apart, of classes the newest."""
    await _known(control, model)
    found = await control.predictions.disagreements(model, primary, shadow)
    return {"model": model, "primary": primary, "shadow": shadow, "disagreements": found}


@router.get("/models/{model}/samples")
async def list_samples(
    model: ModelPath, control: Control, limit: Annotated[int, Query(ge=1, le=200)] = 200
) -> dict[str, Any]:
    """Recent JSON requests that gateways kept, newest first; none unless the route has `record.bodies`."""
    await _known(control, model)
    return {"model": model, "samples": await control.predictions.samples(model, limit)}


@router.get("/models/{model}/corrections")
async def list_corrections(
    model: ModelPath, control: Control, limit: Annotated[int, Query(ge=1, le=10_000)] = 100
) -> dict[str, Any]:
    """Labels that replaced another label, and such as could not be compared; newest first."""
    await _known(control, model)
    return {"model": model, "corrections": await control.predictions.corrections(model, limit)}


async def _evidence(
    control: Parts, model: str, since_s: int, *, whole_hours: bool = True
) -> dict[int, dict[str, float]]:
    await _known(control, model)
    minute = (await control.fleet.workers()).now_ms // 60_000
    return await control.predictions.evidence(model, first_minute(minute, since_s), whole_hours=whole_hours)


async def _known(control: Parts, model: str) -> None:
    if not await versions_of(control.documents, model):
        raise unknown_model(model)


def _feature_drift(before: Table, current: Table, *, alpha: float) -> list[dict[str, Any]]:
    """Of each version's input columns; an alarm where the least possible distance is above 0."""
    told = []
    for (version, column), counts in sorted(current.features.items()):
        moved = shift(before.features.get((version, column), {}), counts)
        if moved is not None:
            within = moved.interval(alpha=alpha)
            told.append(
                {
                    "version": version, "column": column, "distance": moved.distance, "low": within.low,
                    "high": within.high, "reference_n": moved.reference_n, "current_n": moved.current_n,
                    "is_alarm": within.low > 0,
                }
            )  # fmt: skip
    return told


def _worse(table: Table, whole: Comparison) -> list[dict[str, str]]:
    """The budget of error is shared by the candidates, then by the slices of each."""
    candidates = [verdict.candidate for verdict in whole.verdicts]
    return [
        {"header": header, "value": value, "version": version, "than": str(whole.baseline)}
        for version in candidates
        for header, value in worse_in(
            table, str(whole.baseline), version, alpha=whole.alpha / len(candidates)
        )
    ]


def _numbers(counts: Mapping[str, float]) -> dict[str, float]:
    found = {name: middle_of(name) for name in counts}
    return {name: middle for name, middle in found.items() if middle is not None}


def first_minute(minute: int, since_s: int) -> int:
    """Where a window begins that ends at `minute`; a long one with a whole hour, which is read faster."""
    first = minute - -(-since_s // 60)
    return first - first % 60 if since_s >= LONG_S else first


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
