"""Removing unused model files: what goes, what stays, and what a registration at the same moment gets."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.errors import UpstreamError
from gateway.control.api import models
from gateway.control.app import build_app
from gateway.control.registry import collect
from gateway.control.registry import versions as registry
from gateway.control.settings import ControlSettings
from gateway.store.documents import Change, Documents
from tests.control.test_models import model_file, put, upload
from tests.control.world import add_worker
from workers.stores.local import LocalStore
from workers.stores.remote import RemoteStore

ONE, TWO, THREE = (model_file(width=width) for width in (4, 5, 6))


@pytest.fixture(params=["folder", "far"])
def settings(request: pytest.FixtureRequest, settings: ControlSettings, tmp_path: Path) -> ControlSettings:
    """A far store is one that fsspec reaches; both have their files in the same places."""
    url = f"local://{tmp_path}/artifacts" if request.param == "far" else ""
    return replace(settings, artifacts_url=url, artifacts_dir=tmp_path / ("here" if url else "artifacts"))


@pytest.fixture
async def app(settings: ControlSettings) -> FastAPI:
    return build_app(settings)


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8090/api/v1") as client:
        yield client
    await app.state.parts.aclose()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


async def sent(api: httpx2.AsyncClient, kept: Path, data: bytes, *, is_old: bool = True) -> str:
    digest: str = (await upload(api, data))["digest"]
    if is_old:
        os.utime(kept / "sha256" / digest[:2] / digest, (1000, 1000))
    return digest


async def gc(api: httpx2.AsyncClient, **wish: Any) -> Any:
    reply = await api.post("/artifacts/collect", json={"older_than_s": 60, **wish})
    return {"status": reply.status_code, **reply.json()}


def files(kept: Path) -> set[str]:
    return {path.name for path in kept.rglob("*") if path.is_file()}


async def test_old_files_that_no_version_has_go_and_all_others_stay(
    api: httpx2.AsyncClient, kept: Path, redis: Redis
) -> None:
    used, unused = await sent(api, kept, ONE), await sent(api, kept, TWO)
    young = await sent(api, kept, THREE, is_old=False)
    await put(api, "1", digest=used)
    os.utime(kept / "sha256" / used[:2] / used, (1000, 1000))
    would = await gc(api, dry_run=True)
    assert (would["bytes"], would["revision"], files(kept)) == (len(TWO), None, {used, unused, young})
    found = await gc(api, reason="tidy up")
    assert [file["digest"] for file in found["files"]] == [unused]
    assert files(kept) == {used, young}
    newest = (await api.get("/audit")).json()["entries"][0]
    assert (newest["revision"], newest["reason"]) == (found["revision"], "tidy up")
    assert (await gc(api))["revision"] is None


async def test_a_file_that_two_versions_share_goes_with_the_last_of_them(
    api: httpx2.AsyncClient, kept: Path, redis: Redis
) -> None:
    other, shared = await sent(api, kept, ONE), await sent(api, kept, TWO)
    await put(api, "0", digest=other)
    for version in ("1", "2"):
        await put(api, version, digest=shared)
    await api.request("DELETE", "/models/digits/versions/1", json={})
    assert (await gc(api, older_than_s=0))["files"] == []
    assert (await api.get("/models/digits/versions/2/artifact")).content == TWO
    await api.request("DELETE", "/models/digits/versions/2", json={})
    await add_worker(redis, "2", digest=shared)
    assert (await gc(api, older_than_s=0))["files"] == []
    await redis.delete(keys.WORKERS)
    assert [file["digest"] for file in (await gc(api, older_than_s=0))["files"]] == [shared]
    assert files(kept) == {other}


async def test_sending_a_file_again_protects_it(api: httpx2.AsyncClient, kept: Path) -> None:
    await put(api, "1", digest=await sent(api, kept, ONE))
    digest = await sent(api, kept, TWO)
    await upload(api, TWO)
    assert (await gc(api))["files"] == []
    assert (await put(api, "2", digest=digest))["status"] == 201


async def test_a_file_that_is_collected_while_it_is_registered_is_there_afterwards(
    api: httpx2.AsyncClient, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole collection happens between the look at the file and the commit."""
    await put(api, "1", digest=await sent(api, kept, ONE))
    digest = await sent(api, kept, TWO)
    register = registry.register

    async def late(*arguments: Any, **named: Any) -> Any:
        assert [file["digest"] for file in (await gc(api))["files"]] == [digest]
        return await register(*arguments, **named)

    monkeypatch.setattr(models, "register", late)
    assert (await put(api, "2", digest=digest))["status"] == 201
    assert (await api.get("/models/digits/versions/2/artifact")).content == TWO


async def test_a_version_that_is_committed_during_a_collection_gets_its_file_back(
    app: FastAPI, api: httpx2.AsyncClient, kept: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit happens while its file is aside; nobody looks for the file afterwards."""
    await put(api, "1", digest=await sent(api, kept, ONE))
    digest = await sent(api, kept, TWO)
    documents, loop = Documents(redis), asyncio.get_running_loop()
    known = await documents.get(keys.version_field("digits", "1"))
    assert known is not None
    assert known.doc is not None
    made = Change(keys.version_field("digits", "2"), {**known.doc, "version": "2", "digest": digest}, 0)
    store = type(app.state.parts.artifacts.store)
    set_aside = store.set_aside

    def slowly(self: LocalStore | RemoteStore, which: str) -> None:
        set_aside(self, which)
        commit = documents.commit([made], author="ana", reason="", op_id="x")
        asyncio.run_coroutine_threadsafe(commit, loop).result(10)

    monkeypatch.setattr(store, "set_aside", slowly)
    found = await gc(api)
    assert (found["files"], found["revision"]) == ([], None)
    assert (await api.get("/models/digits/versions/2/artifact")).content == TWO


async def test_what_a_collection_that_died_has_set_aside_is_settled_by_the_next(
    app: FastAPI, api: httpx2.AsyncClient, kept: Path
) -> None:
    used, unused = await sent(api, kept, ONE), await sent(api, kept, TWO)
    await put(api, "1", digest=used)
    for digest in (used, unused):
        app.state.parts.artifacts.store.set_aside(digest)
    assert (await api.get("/models/digits/versions/1/artifact")).status_code == 404
    await gc(api)
    assert (await api.get("/models/digits/versions/1/artifact")).content == ONE
    assert files(kept) == {used}


async def test_nothing_goes_when_it_cannot_be_known_what_is_used(
    api: httpx2.AsyncClient, kept: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, unused = await sent(api, kept, ONE), await sent(api, kept, TWO)
    no_versions = await gc(api)
    assert (no_versions["code"], "if Redis lost its data" in no_versions["error"]) == ("refused", True)
    await put(api, "1", digest=used)
    await redis.hset(keys.DOCUMENTS, "version/digits/2", "nonsense")
    assert (await gc(api))["code"] == "refused"
    await redis.hdel(keys.DOCUMENTS, "version/digits/2")
    looks, look = 0, collect._used

    async def once(*arguments: Any, **named: Any) -> set[str]:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise UpstreamError("store_away", "Redis went away")
        return await look(*arguments, **named)

    monkeypatch.setattr(collect, "_used", once)
    assert (await gc(api))["status"] == 503
    assert {path.name for path in kept.glob("sha256/*/*")} == {used, unused}
