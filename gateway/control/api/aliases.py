"""HTTP: aliases of a model's versions."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from gateway.contract import keys
from gateway.contract.names import NAME_PATTERN, VersionName
from gateway.contract.route import Document
from gateway.control.access.caller import Caller
from gateway.control.body import StrictRoute
from gateway.control.parts import Author, Control
from gateway.control.registry.aliases import Move, move_alias, read_aliases
from gateway.control.rollouts.followed import told_followed
from gateway.core.follow import moved_at

router = APIRouter(tags=["models"], route_class=StrictRoute)

ModelPath = Annotated[str, Path(pattern=NAME_PATTERN)]
_HISTORY_READ = 1000

AliasPath = Annotated[str, Path(pattern=NAME_PATTERN)]


class MoveWish(Document):
    """`version` null removes the alias; `expected_revision` is that of the model's aliases. `force`, with a
    reason, overrides policy where it lets the caller."""

    version: VersionName | None
    expected_revision: int | None = Field(default=None, ge=0)
    reason: str = Field(default="", max_length=1024)
    dry_run: bool = False
    force: bool = False


@router.get("/models/{model}/aliases")
async def list_aliases(model: ModelPath, control: Control) -> dict[str, Any]:
    """With the last move of each, and how the route follows one of them (null: it follows none)."""
    found, revision = await read_aliases(control.documents, model)
    history = await control.documents.history(keys.alias_field(model), _HISTORY_READ)
    moved = {alias: moved_at(alias, history) for alias in found.aliases}
    return {
        "model": model,
        "aliases": found.aliases,
        "revision": revision,
        "moved": {
            alias: {
                "revision": entry.revision, "at_ms": entry.at_ms, "author": entry.author,
                "reason": entry.reason,
            }
            for alias, entry in moved.items()
            if entry is not None
        },
        "following": await told_followed(control.documents, model, leader=await control.leases.leader()),
    }  # fmt: skip


@router.get("/models/{model}/aliases/history")
async def alias_history(
    model: ModelPath, control: Control, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> dict[str, Any]:
    """What the aliases named before, newest first."""
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
    model: ModelPath, alias: AliasPath, wish: MoveWish, control: Control, author: Author, caller: Caller
) -> dict[str, Any]:
    """Asked of policy; a route that follows the alias is changed after it, by the leader of the rollouts."""
    move = Move(model, alias, author=author, role=caller.role, **wish.model_dump())
    moved = await move_alias(control, move)
    return {
        "model": model, "aliases": moved.aliases.aliases, "revision": moved.revision,
        "changed": moved.changed, "warnings": moved.warnings, "dry_run": wish.dry_run,
    }  # fmt: skip
