"""HTTP: model files: keeping one, and removing those that no version uses."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.requests import ClientDisconnect

from gateway.contract.errors import CallerError
from gateway.contract.route import Document
from gateway.control.body import StrictRoute
from gateway.control.parts import Author, Control
from gateway.control.registry.collect import collect

uploads = APIRouter(tags=["models"])  # a model file is a stream, not a JSON document
router = APIRouter(tags=["models"], route_class=StrictRoute)


class Collection(Document):
    """`older_than_s`: what was sent, or sent again, since then stays: it may be on its way to a version."""

    older_than_s: float = Field(default=86_400.0, ge=0, le=1e9)
    dry_run: bool = False
    reason: str = Field(default="", max_length=512)


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


@router.post("/artifacts/collect")
async def collect_artifacts(wish: Collection, control: Control, author: Author) -> dict[str, Any]:
    """Removes files that no version and no live worker uses; `partial` counts rests of broken uploads."""
    found = await collect(
        control, older_than_s=wish.older_than_s, dry_run=wish.dry_run, author=author, reason=wish.reason
    )
    return {
        "files": [{"digest": file.digest, "size_bytes": file.size_bytes} for file in found.files],
        "bytes": sum(file.size_bytes for file in found.files),
        "partial": found.partial,
        "dry_run": wish.dry_run,
        "revision": found.revision,
    }
