"""Model files and versions over the control API: content-addressed, inspected, immutable."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import onnx
import pytest
from onnx import TensorProto, helper
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.pool import WorkerState
from gateway.control.settings import ControlSettings
from gateway.store.documents import Documents
from tests.control.world import add_ready_versions, add_versions, add_worker, split

BYTES = {"content-type": "application/octet-stream"}


def model_file(*, width: int = 4) -> bytes:
    """A whole ONNX model: y = x."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width])],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    data: bytes = model.SerializeToString()
    return data


async def upload(api: httpx2.AsyncClient, data: bytes) -> Any:
    reply = await api.post("/artifacts", content=data, headers=BYTES)
    return {"status": reply.status_code, **reply.json()}


async def put(api: httpx2.AsyncClient, version: str, **fields: Any) -> Any:
    reply = await api.put(f"/models/digits/versions/{version}", json=fields)
    return {"status": reply.status_code, **reply.json()}


async def test_a_model_file_is_kept_under_its_digest_with_its_signature(
    api: httpx2.AsyncClient, settings: ControlSettings
) -> None:
    data = model_file()
    kept = await upload(api, data)
    digest = hashlib.sha256(data).hexdigest()
    assert (kept["status"], kept["digest"], kept["size_bytes"]) == (201, digest, len(data))
    assert kept["signature"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    path = settings.artifacts_dir / "sha256" / digest[:2] / digest
    assert path.read_bytes() == data
    assert (await upload(api, data))["digest"] == digest
    files = [found.name for found in settings.artifacts_dir.rglob("*") if found.is_file()]
    assert files == [digest]


@pytest.mark.parametrize("wish", ["true", "false", ""])
async def test_a_dry_run_by_header_is_refused_where_it_would_hold_nothing_back(
    api: httpx2.AsyncClient, settings: ControlSettings, wish: str
) -> None:
    reply = await api.post("/artifacts", content=model_file(), headers=BYTES | {"turnout-dry-run": wish})
    assert (reply.status_code, "nothing was changed" in reply.json()["error"]) == (400, True)
    assert not list(settings.artifacts_dir.rglob("*"))


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "invalid_input"),
        (b"\x80\x04pickle", 400, "invalid_input"),
        (model_file()[:-20], 400, "invalid_input"),
        (b"x" * 100_001, 413, "too_large"),
    ],
    ids=["empty", "pickle", "cut short", "too long"],
)
async def test_what_is_not_a_model_leaves_nothing_behind(
    api: httpx2.AsyncClient, settings: ControlSettings, data: bytes, status: int, code: str
) -> None:
    refused = await upload(api, data)
    assert (refused["status"], refused["code"]) == (status, code)
    assert not any(found.is_file() for found in settings.artifacts_dir.rglob("*"))


async def test_a_file_without_announced_length_is_cut_off_at_the_limit(
    api: httpx2.AsyncClient, settings: ControlSettings
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 10_000

    reply = await api.post("/artifacts", content=endless(), headers=BYTES)
    assert reply.json()["code"] == "too_large"
    assert not any(found.is_file() for found in settings.artifacts_dir.rglob("*"))


async def test_a_version_gets_size_and_signature_from_its_file_and_one_worker(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    digest = (await upload(api, model_file()))["digest"]
    made = await put(api, "1", digest=digest, owner="ana", metrics={"accuracy": 0.9}, tags={"stage": "x"})
    assert (made["status"], made["changed"], made["size_bytes"]) == (201, True, len(model_file()))
    shown = (await api.get("/models/digits/versions/1")).json()
    assert (shown["owner"], shown["author"], shown["revision"]) == ("ana", "ana@desk", made["revision"])
    pool = shown["pool"]
    assert (pool["wanted"], pool["size"], pool["keep"], pool["ready"]) == (1, 1, "needed", 0)
    assert pool["reasons"] == ["asked for"]
    assert 299 < pool["stops_in_s"] <= 300
    wanted = await Documents(redis).get(keys.wanted_field("digits", "1"))
    assert wanted is not None
    assert wanted.doc is not None
    assert (wanted.doc["workers"], wanted.doc["keep"], wanted.revision) == (1, "needed", made["revision"])


async def test_the_same_content_again_changes_nothing_and_other_content_is_a_conflict(
    api: httpx2.AsyncClient,
) -> None:
    digest = (await upload(api, model_file()))["digest"]
    other = (await upload(api, model_file(width=5)))["digest"]
    made = await put(api, "1", digest=digest, owner="ana")
    again = await put(api, "1", digest=digest, owner="ana")
    assert (again["status"], again["changed"], again["revision"]) == (200, False, made["revision"])
    changed = await put(api, "1", digest=other, owner="ana")
    assert (changed["status"], changed["code"], changed["author"]) == (409, "conflict", "ana@desk")
    assert changed["changes"] == ["digest", "signature"]
    assert (await put(api, "1", digest=digest, owner="bo"))["status"] == 409
    silent = await put(api, "1", digest=digest)  # a pipeline that does not say whose it is
    assert (silent["status"], silent["changed"], silent["owner"]) == (200, False, "ana")


async def test_registering_again_keeps_the_number_of_workers_unless_it_is_given(
    api: httpx2.AsyncClient,
) -> None:
    digest = (await upload(api, model_file()))["digest"]
    await put(api, "1", digest=digest, workers=3)
    await put(api, "1", digest=digest)
    assert (await api.get("/models/digits/versions/1")).json()["pool"]["wanted"] == 3
    await put(api, "1", digest=digest, workers=2)
    assert (await api.get("/models/digits/versions/1")).json()["pool"]["wanted"] == 2


async def test_a_version_needs_its_file_in_the_store(api: httpx2.AsyncClient) -> None:
    missing = await put(api, "1", digest="0" * 64)
    assert (missing["status"], missing["problems"]) == (422, [f"digest: no artifact {'0' * 64}"])


async def test_a_file_that_changed_on_disk_is_noticed(
    api: httpx2.AsyncClient, settings: ControlSettings
) -> None:
    digest = (await upload(api, model_file()))["digest"]
    path = settings.artifacts_dir / "sha256" / digest[:2] / digest
    path.write_bytes(model_file(width=9))
    assert "changed in the store" in (await put(api, "1", digest=digest))["error"]
    await upload(api, model_file())  # mends it
    assert (await put(api, "1", digest=digest))["status"] == 201


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"digest": "abc"}, "digest"),
        ({"digest": "0" * 64, "workers": 65}, "workers"),
        ({"digest": "0" * 64, "signature": {}}, "signature"),
        ({"digest": "0" * 64, "metrics": {"accuracy": "high"}}, "metrics.accuracy"),
    ],
)
async def test_a_wrong_registration_is_refused_with_its_path(
    api: httpx2.AsyncClient, fields: dict[str, Any], problem: str
) -> None:
    refused = await put(api, "1", **fields)
    assert refused["status"] == 422
    assert refused["problems"][0].startswith(problem)


@pytest.mark.parametrize("name", ["Digits", "..%2F..%2Fetc", "a%00b", "x" * 65, "%20"])
async def test_names_that_are_none_are_refused(api: httpx2.AsyncClient, name: str) -> None:
    assert (await api.get(f"/models/{name}")).status_code in (400, 404)


async def test_what_is_not_registered_is_told_with_what_is(api: httpx2.AsyncClient, redis: Redis) -> None:
    assert (await api.get("/models/digits")).json()["code"] == "unknown_model"
    await add_versions(redis, "1", "2")
    found = (await api.get("/models/digits/versions/7")).json()
    assert (found["code"], "it has: 1, 2" in found["error"]) == ("unknown_version", True)
    assert (await api.get("/models")).json() == {
        "models": [{"model": "digits", "versions": ["1", "2"]}],
        "next": None,
    }


async def test_a_pool_joins_what_is_wanted_registered_and_there(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_versions(redis, "1")
    await add_worker(redis, "1", port=1)
    await add_worker(redis, "1", port=2, state=WorkerState.STARTING)
    await add_worker(redis, "1", port=3, digest="0" * 64)
    await add_worker(redis, "9", port=4)
    scaled = await api.put("/models/digits/versions/1/workers", json={"workers": 2})
    assert scaled.json()["workers"] == 2
    pools = {pool["version"]: pool for pool in (await api.get("/pools")).json()["pools"]}
    assert [pools["1"][name] for name in ("wanted", "ready", "starting", "is_short")] == [2, 1, 1, True]
    problems = [worker["problem"] for worker in pools["1"]["workers"]]
    assert problems == [None, None, "serves another model file than the registered one"]
    assert (pools["9"]["is_registered"], pools["9"]["wanted"], pools["9"]["ready"]) == (False, None, 0)


async def test_the_last_workers_of_live_traffic_are_not_taken_away_unforced(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_ready_versions(redis, "1", "2")
    edit = {"kind": "split", "split": split(("1", 100))}
    assert (await api.post("/routes/digits/edit", json={"edit": edit})).status_code == 200
    path = "/models/digits/versions/1/workers"
    refused = await api.put(path, json={"workers": 0})
    assert (refused.status_code, refused.json()["code"]) == (403, "refused")
    assert (await api.put(path, json={"workers": 0, "force": True})).status_code == 200
    assert (await api.put("/models/digits/versions/2/workers", json={"workers": 0})).status_code == 200
