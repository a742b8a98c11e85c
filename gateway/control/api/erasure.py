"""HTTP: what is kept of one unit is erased, and the audit says so without saying whose it was."""

import re
from dataclasses import asdict
from typing import Annotated, Any, Self

from fastapi import APIRouter
from pydantic import Field, StringConstraints, model_validator

from gateway.contract import keys
from gateway.contract.erasure import MAX_UNIT_BYTES, Erasure
from gateway.contract.names import PREDICTION_ID_PATTERN
from gateway.contract.record import unit_mark
from gateway.contract.route import Document
from gateway.control.api.paths import ModelPath
from gateway.control.body import StrictRoute
from gateway.control.parts import Author, Control, Parts
from gateway.control.routing.stored import read_stored
from gateway.store.documents import Change, new_operation_id

router = APIRouter(tags=["governance"], route_class=StrictRoute)

MAX_IDS = 256
PredictionId = Annotated[str, StringConstraints(pattern=PREDICTION_ID_PATTERN)]


class ErasureWish(Document):
    """A unit, as its requests name it, or predictions by their ids, or both."""

    unit: Annotated[str, Field(min_length=1, max_length=MAX_UNIT_BYTES)] | None = None
    predictions: tuple[PredictionId, ...] = Field(default=(), max_length=MAX_IDS)
    reason: Annotated[str, Field(min_length=1, max_length=400)]
    dry_run: bool = False

    @model_validator(mode="after")
    def _about_something(self) -> Self:
        if self.unit is None and not self.predictions:
            raise ValueError("give a unit, ids of predictions, or both")
        if self.unit is not None and _names(self.reason, self.unit):
            raise ValueError("reason: it must not name the unit, since the audit keeps it")
        return self


@router.post("/models/{model}/erasure")
async def erase(model: ModelPath, wish: ErasureWish, control: Control, author: Author) -> dict[str, Any]:
    """Removes records, outputs, labels and samples; counts stay. Repeat it after an error: it goes on. A dry
    run counts what would go."""
    stored = await read_stored(control.documents, model)
    keeps_units = stored.route is not None and stored.route.record.units
    mark = None if wish.unit is None else unit_mark(model, wish.unit.encode())
    if wish.dry_run:
        counted = await control.erasure.count(model, mark=mark, ids=wish.predictions)
        return {"model": model, **asdict(counted), "dry_run": True, "keeps_units": keeps_units}
    seal = control.heads.seal("erasure", model, wish.unit or "", *sorted(wish.predictions))
    begun = Erasure(model=model, seal=seal, state="begun", by_ids=len(wish.predictions))
    await _note(control, begun, author=author, reason=f"erasure {seal} begins: {wish.reason}")
    erased = await control.erasure.erase(model, mark=mark, ids=wish.predictions)
    done = Erasure.model_validate({**begun.model_dump(), "state": "done", **asdict(erased)})
    revision = await _note(control, done, author=author, reason=f"erasure {seal} is done: {wish.reason}")
    return {**done.model_dump(mode="json"), "revision": revision, "keeps_units": keeps_units}


async def _note(control: Parts, erasure: Erasure, *, author: str, reason: str) -> int:
    field = keys.erasure_field(erasure.model)
    change = Change(field, erasure.model_dump(mode="json"), expected_revision=None)
    committed = await control.documents.commit(
        [change], author=author, reason=reason, op_id=new_operation_id()
    )
    return committed.revision


def _names(reason: str, unit: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(unit)}(?!\w)", reason, re.IGNORECASE) is not None
