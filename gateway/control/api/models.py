"""HTTP: artifacts, models and their registered versions."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.requests import ClientDisconnect

from gateway.contract.errors import CallerError
from gateway.contract.names import NAME_PATTERN, VERSION_PATTERN
from gateway.contract.route import Document
from gateway.contract.version import Version
from gateway.control.body import StrictRoute
from gateway.control.caller import Caller
from gateway.control.parts import Author, Control, Parts
from gateway.control.pools import Pool, pools
from gateway.control.registry import (
    Registration,
    all_versions,
    all_wanted,
    register,
    registered,
    set_workers,
    unknown_model,
)
from gateway.control.retire import remove, retag
from gateway.control.search import parse_search
from gateway.control.stored import read_stored
from gateway.core.check import shares

uploads = APIRouter(tags=["models"])  # a model file is a stream, not a JSON document
router = APIRouter(tags=["models"], route_class=StrictRoute)

ModelPath = Annotated[str, Path(pattern=NAME_PATTERN)]
VersionPath = Annotated[str, Path(pattern=VERSION_PATTERN)]


class Workers(Document):
    """How many workers supervisors should keep; taking the last one from live traffic needs `force`."""

    workers: int = Field(ge=0, le=64)
    force: bool = False


class Tags(Document):
    """What to change: null removes a tag."""

    tags: dict[
        Annotated[str, Field(min_length=1, max_length=128)], Annotated[str, Field(max_length=1024)] | None
    ] = Field(min_length=1, max_length=64)


@uploads.post("/artifacts", status_code=201)
async def add_artifact(request: Request, control: Control) -> dict[str, Any]:
    """Keeps a model file under its SHA-256; the body is the file (application/octet-stream)."""
    limit = control.settings.max_artifact_bytes
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise CallerError("too_large", f"the model file is longer than {limit} bytes", max_bytes=limit)
    try:
        artifact = await control.artifacts.add(request.stream())
    except ClientDisconnect:
        raise CallerError("bad_request", "the client went away before its file had arrived") from None
    return {
        "digest": artifact.digest,
        "size_bytes": artifact.size_bytes,
        "signature": artifact.signature.model_dump(mode="json"),
    }


@router.get("/models")
async def list_models(
    control: Control,
    caller: Caller,
    search: Annotated[str, Query(max_length=512)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    after: Annotated[str, Query(max_length=64)] = "",
) -> dict[str, Any]:
    """Models by name with the versions that the search means; `next` is the `after` of the next page."""
    means = parse_search(search)
    found: list[dict[str, Any]] = []
    for model, versions in sorted((await control.catalogue.models()).items()):
        if model <= after or not caller.sees(model):
            continue
        names = sorted(name for name, version in versions.items() if means(version))
        if names and len(found) == limit:
            return {"models": found, "next": found[-1]["model"]}
        if names:
            found.append({"model": model, "versions": names})
    return {"models": found, "next": None}


@router.get("/models/{model}")
async def show_model(model: ModelPath, control: Control) -> dict[str, Any]:
    versions = await all_versions(control.documents, f"version/{model}/")
    if not versions:
        raise unknown_model(model)
    by_version = {pool.version: pool for pool in await pools_of(control, model)}
    return {
        "model": model,
        "versions": [
            {**version.model_dump(mode="json"), "pool": _summary(by_version[name])}
            for (_, name), version in sorted(versions.items())
        ],
    }


@router.get("/models/{model}/versions/{version}")
async def show_version(model: ModelPath, version: VersionPath, control: Control) -> dict[str, Any]:
    found, envelope = await registered(control.documents, model, version)
    by_version = {pool.version: pool for pool in await pools_of(control, model)}
    return {
        **found.model_dump(mode="json"),
        "revision": envelope.revision,
        "author": envelope.author,
        "at_ms": envelope.at_ms,
        "pool": _summary(by_version[version]),
    }


@router.put("/models/{model}/versions/{version}", responses={201: {"description": "it is new"}})
async def register_version(
    model: ModelPath,
    version: VersionPath,
    wish: Registration,
    control: Control,
    author: Author,
    response: Response,
) -> dict[str, Any]:
    """201 when it is new; the same content again is 200 with `changed` false; other content is a conflict."""
    artifact = await control.artifacts.get(wish.digest)
    document = Version(
        model=model,
        version=version,
        size_bytes=artifact.size_bytes,
        signature=artifact.signature,
        producer=artifact.producer,
        opsets=artifact.opsets,
        **wish.model_dump(exclude={"workers"}),
    )
    twins = await _same_content(control, document)
    changed, revision = await register(control.documents, document, workers=wish.workers, author=author)
    response.status_code = 201 if changed else 200
    kept, _ = await registered(control.documents, model, version)
    warnings = [f"the same file is registered as {twin}" for twin in twins]
    return {**kept.model_dump(mode="json"), "changed": changed, "revision": revision, "warnings": warnings}


@router.delete("/models/{model}/versions/{version}")
async def remove_version(
    model: ModelPath,
    version: VersionPath,
    control: Control,
    author: Author,
    reason: Annotated[str, Query(max_length=512)] = "",
) -> dict[str, Any]:
    """409 says who uses it."""
    revision = await remove(control.documents, model, version, author=author, reason=reason)
    return {"model": model, "version": version, "revision": revision}


@router.put("/models/{model}/versions/{version}/tags")
async def tag_version(
    model: ModelPath, version: VersionPath, wish: Tags, control: Control, author: Author
) -> dict[str, Any]:
    tags, revision = await retag(control.documents, model, version, dict(wish.tags), author=author)
    return {"model": model, "version": version, "tags": tags, "revision": revision}


@router.get("/models/{model}/versions/{version}/artifact")
async def download(model: ModelPath, version: VersionPath, control: Control) -> Response:
    """The model file, whose SHA-256 is the version's digest."""
    found, _ = await registered(control.documents, model, version)
    path = control.artifacts.path_of(found.digest)
    if not path.is_file() or path.stat().st_size != found.size_bytes:
        raise CallerError("not_found", "the model file is not in the store as it was: register it again")
    length = {"content-length": str(found.size_bytes), "x-turnout-digest": found.digest}
    return StreamingResponse(
        control.artifacts.chunks(found.digest), media_type="application/octet-stream", headers=length
    )


@router.put("/models/{model}/versions/{version}/workers")
async def scale(
    model: ModelPath, version: VersionPath, wish: Workers, control: Control, author: Author
) -> dict[str, Any]:
    await registered(control.documents, model, version)
    if wish.workers == 0 and not wish.force:
        await _refuse_if_live(control, model, version)
    forced = ["the last workers were taken away"] if wish.force and wish.workers == 0 else []
    revision = await set_workers(
        control.documents, model, version, wish.workers, author=author, forced=forced
    )
    return {"model": model, "version": version, "workers": wish.workers, "revision": revision}


async def _same_content(control: Parts, document: Version) -> list[str]:
    """`model version` of every other version with this file."""
    return sorted(
        f"{model} {name}"
        for model, versions in (await control.catalogue.models()).items()
        for name, version in versions.items()
        if version.digest == document.digest and (model, name) != (document.model, document.version)
    )


async def pools_of(control: Parts, model: str | None = None) -> list[Pool]:
    """Of one model, or of all."""
    of_model = "" if model is None else f"{model}/"
    fleet = await control.fleet.workers()
    return pools(
        [lease for lease in fleet.leases if model in (None, lease.model)],
        now_ms=fleet.now_ms,
        wanted=await all_wanted(control.documents, f"wanted/{of_model}"),
        versions=await _versions(control, model),
    )


async def _versions(control: Parts, model: str | None) -> dict[tuple[str, str], Version]:
    models = await control.catalogue.models()
    asked = models if model is None else {model: models.get(model, {})}
    return {(name, version): document for name, found in asked.items() for version, document in found.items()}


async def _refuse_if_live(control: Parts, model: str, version: str) -> None:
    stored = await read_stored(control.documents, model)
    places = sorted(place for place, named in shares(stored.route) if named == version)
    if places:
        raise CallerError(
            "refused",
            f"version {version} of {model} answers requests ({', '.join(places)}): move them away first, "
            "or add --force",
        )


def _summary(pool: Pool) -> dict[str, Any]:
    return {
        "wanted": pool.wanted,
        "ready": pool.ready,
        "starting": pool.starting,
        "draining": pool.draining,
    }
