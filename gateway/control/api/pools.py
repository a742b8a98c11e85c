"""HTTP: how many workers a version shall have, and why it has them."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from gateway.contract.errors import CallerError
from gateway.contract.pool import Keep, Wanted
from gateway.contract.route import Document
from gateway.control.api.paths import ModelPath, VersionPath
from gateway.control.body import StrictRoute
from gateway.control.parts import Author, Control, Parts
from gateway.control.pools.report import Pool
from gateway.control.pools.wanted import asked_until_ms, scale, start
from gateway.control.registry.versions import registered
from gateway.control.routing.stored import read_stored
from gateway.core.check import shares

router = APIRouter(tags=["pools"], route_class=StrictRoute)


class Workers(Document):
    """How many workers each supervisor should keep, and whether always or by need; what is not given stays.
    Taking the last one from live traffic needs `force`."""

    workers: int | None = Field(default=None, ge=0, le=64)
    keep: Keep | None = None
    force: bool = False


class Nothing(Document):
    """An empty object."""


@router.put("/models/{model}/versions/{version}/workers")
async def scale_pool(
    model: ModelPath, version: VersionPath, wish: Workers, control: Control, author: Author
) -> dict[str, Any]:
    """How many workers it has when needed, and whether always; what is not given stays."""
    await registered(control.documents, model, version)
    if wish.workers == 0 and not wish.force:
        await _refuse_if_live(control, model, version)
    forced = ["the last workers were taken away"] if wish.force and wish.workers == 0 else []
    number = "the" if wish.workers is None else str(wish.workers)
    mode = "" if wish.keep is None else f", kept {wish.keep.value}"
    after, revision = await scale(
        control.documents,
        model,
        version,
        workers=wish.workers,
        keep=wish.keep,
        until_ms=await asked_now_until_ms(control),
        author=author,
        reason=f"{number} workers of version {version} of {model}{mode}",
        forced=forced,
    )
    return _wish_told(model, version, after, revision)


@router.post("/models/{model}/versions/{version}/start")
async def start_pool(
    model: ModelPath, version: VersionPath, wish: Nothing, control: Control, author: Author
) -> dict[str, Any]:
    """Asks supervisors for its workers, before a route names it; they stay for `keep_warm_s` at least.

    It does not wait: `pool` of the version tells how it goes.
    """
    await registered(control.documents, model, version)
    until_ms = await asked_now_until_ms(control)
    after, revision = await start(control.documents, model, version, until_ms=until_ms, author=author)
    return _wish_told(model, version, after, revision)


async def asked_now_until_ms(control: Parts) -> int:
    """Until when workers stay that somebody asks for now."""
    now_ms = (await control.fleet.workers()).now_ms
    return asked_until_ms(now_ms, keep_warm_s=control.settings.keep_warm_s)


async def _refuse_if_live(control: Parts, model: str, version: str) -> None:
    stored = await read_stored(control.documents, model)
    places = sorted(place for place, named in shares(stored.route) if named == version)
    if places:
        raise CallerError(
            "refused",
            f"version {version} of {model} answers requests ({', '.join(places)}): move them away first, "
            "or add --force",
        )


def _wish_told(model: str, version: str, wish: Wanted, revision: int) -> dict[str, Any]:
    return {"model": model, "version": version, "revision": revision} | wish.model_dump(
        mode="json", include={"workers", "keep"}
    )


def summary(pool: Pool) -> dict[str, Any]:
    return {
        "wanted": pool.wanted,
        "size": pool.size,
        "keep": pool.keep,
        "ready": pool.ready,
        "starting": pool.starting,
        "draining": pool.draining,
        "reasons": pool.reasons,
        "stops_in_s": pool.stops_in_s,
        "lacks": pool.lacks,
        "is_stuck": pool.is_stuck,
    }
