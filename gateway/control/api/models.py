"""HTTP: models and their registered versions."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from gateway.contract.route import Document
from gateway.contract.version import Version
from gateway.control.access.caller import Caller
from gateway.control.api.paths import ModelPath, VersionPath
from gateway.control.api.pools import asked_now_until_ms, summary
from gateway.control.body import StrictRoute
from gateway.control.parts import Author, Control, Parts
from gateway.control.registry.artifacts import chunks
from gateway.control.registry.retire import remove, retag
from gateway.control.registry.search import parse_search
from gateway.control.registry.versions import Registration, all_versions, register, registered, unknown_model
from gateway.control.routing.governance import broken_by_removal, refuse

router = APIRouter(tags=["models"], route_class=StrictRoute)


class Tags(Document):
    """What to change: null removes a tag."""

    tags: dict[
        Annotated[str, Field(min_length=1, max_length=128)], Annotated[str, Field(max_length=1024)] | None
    ] = Field(min_length=1, max_length=64)


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
    """A model with its versions."""
    versions = await all_versions(control.documents, f"version/{model}/")
    if not versions:
        raise unknown_model(model)
    by_version = {pool.version: pool for pool in (await control.pools.read()).of_model(model)}
    return {
        "model": model,
        "versions": [
            {**version.model_dump(mode="json"), "pool": summary(by_version[name])}
            for (_, name), version in sorted(versions.items())
        ],
    }


@router.get("/models/{model}/versions/{version}")
async def show_version(model: ModelPath, version: VersionPath, control: Control) -> dict[str, Any]:
    """Everything about a version, with its pool."""
    found, envelope = await registered(control.documents, model, version)
    by_version = {pool.version: pool for pool in (await control.pools.read()).of_model(model)}
    return {
        **found.model_dump(mode="json"),
        "revision": envelope.revision,
        "author": envelope.author,
        "at_ms": envelope.at_ms,
        "pool": summary(by_version[version]),
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
    """Registers a version: 201 when new; the same again is 200, `changed` false; other content a conflict."""
    artifact = await control.artifacts.get(wish.digest)
    document = Version(
        model=model,
        version=version,
        size_bytes=artifact.size_bytes,
        signature=artifact.signature,
        producer=artifact.producer,
        opsets=artifact.opsets,
        **wish.model_dump(exclude={"workers", "keep"}),
    )
    twins = await _same_content(control, document)
    changed, revision = await register(
        control.documents,
        document,
        workers=wish.workers,
        keep=wish.keep,
        until_ms=await asked_now_until_ms(control),
        author=author,
    )
    await control.artifacts.keep(artifact)
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
    caller: Caller,
    reason: Annotated[str, Query(max_length=512)] = "",
    force: bool = False,
) -> dict[str, Any]:
    """Removes a version: 409 says who uses it, 403 which policy keeps it."""
    await registered(control.documents, model, version)
    broken = await broken_by_removal(control, model, version)
    overridden = refuse(broken, force=force, reason=reason, role=caller.role)
    revision = await remove(
        control.documents, model, version, author=author, reason=reason, forced=overridden
    )
    return {"model": model, "version": version, "revision": revision, "warnings": list(overridden)}


@router.put("/models/{model}/versions/{version}/tags")
async def tag_version(
    model: ModelPath, version: VersionPath, wish: Tags, control: Control, author: Author
) -> dict[str, Any]:
    """Sets tags; null takes one away."""
    tags, revision = await retag(control.documents, model, version, dict(wish.tags), author=author)
    return {"model": model, "version": version, "tags": tags, "revision": revision}


@router.get("/models/{model}/versions/{version}/artifact")
async def download(model: ModelPath, version: VersionPath, control: Control) -> Response:
    """The model file, whose SHA-256 is the version's digest."""
    found, _ = await registered(control.documents, model, version)
    file = await control.artifacts.open(found.digest)
    length = {"content-length": str(found.size_bytes), "x-turnout-digest": found.digest}
    return StreamingResponse(chunks(file), media_type="application/octet-stream", headers=length)


async def _same_content(control: Parts, document: Version) -> list[str]:
    """`model version` of every other version with this file."""
    return sorted(
        f"{model} {name}"
        for model, versions in (await control.catalogue.models()).items()
        for name, version in versions.items()
        if version.digest == document.digest and (model, name) != (document.model, document.version)
    )
