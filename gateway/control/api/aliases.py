"""HTTP: aliases of a model's versions."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from gateway.contract import keys
from gateway.contract.names import NAME_PATTERN, VersionName
from gateway.contract.route import Document
from gateway.control.body import StrictRoute
from gateway.control.parts import Author, Control
from gateway.control.retire import move_alias, read_aliases

router = APIRouter(tags=["models"], route_class=StrictRoute)

ModelPath = Annotated[str, Path(pattern=NAME_PATTERN)]
AliasPath = Annotated[str, Path(pattern=NAME_PATTERN)]


class Move(Document):
    """`version` null removes the alias; `expected_revision` is that of the model's aliases."""

    version: VersionName | None
    expected_revision: int | None = Field(default=None, ge=0)
    reason: str = Field(default="", max_length=1024)


@router.get("/models/{model}/aliases")
async def list_aliases(model: ModelPath, control: Control) -> dict[str, Any]:
    found, revision = await read_aliases(control.documents, model)
    return {"model": model, "aliases": found.aliases, "revision": revision}


@router.get("/models/{model}/aliases/history")
async def alias_history(
    model: ModelPath, control: Control, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> dict[str, Any]:
    found = await control.documents.history(keys.alias_field(model), limit)
    entries = [
        {
            "revision": item.revision,
            "at_ms": item.at_ms,
            "author": item.author,
            "reason": item.reason,
            "aliases": (item.doc or {}).get("aliases", {}),
        }
        for item in found
    ]
    return {"model": model, "history": entries}


@router.put("/models/{model}/aliases/{alias}")
async def set_alias(
    model: ModelPath, alias: AliasPath, wish: Move, control: Control, author: Author
) -> dict[str, Any]:
    found, revision, changed = await move_alias(
        control.documents, model, alias, wish.version,
        expected_revision=wish.expected_revision, author=author, reason=wish.reason,
    )  # fmt: skip
    return {"model": model, "aliases": found.aliases, "revision": revision, "changed": changed}
