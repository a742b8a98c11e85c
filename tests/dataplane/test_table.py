"""Models are bound when they are asked for, and a commit unbinds only those that it touches."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from gateway.contract.pool import Lease, WorkerState
from gateway.core.compile import compile_changes
from gateway.dataplane.recorder import Recorder
from gateway.dataplane.table import Table
from gateway.dataplane.tally import Tallies
from gateway.upstream.pool import PoolSet
from tests.dataplane.conftest import LABEL, version_document
from tests.scripted import DIGEST


def committed(table: Table, documents: Mapping[str, dict[str, Any] | None]) -> None:
    """Serve the table's snapshot with these documents at the next revision."""
    revision = table.snapshot.revision + 1
    changed = {
        field: None if doc is None else orjson.dumps({"revision": revision, "doc": doc})
        for field, doc in documents.items()
    }
    table.switch(compile_changes(table.snapshot, revision=revision, changed=changed))
    assert not table.snapshot.problems


def route(model: str, version: str) -> dict[str, Any]:
    return {"model": model, "split": [{"version": version, "weight": 100}]}


def path(model: str) -> bytes:
    return f"/v2/models/{model}/infer".encode()


@pytest.fixture
def table() -> Table:
    """Models `a` and `b`, each with versions 1 to 5 and a route to 1."""
    tallies = Tallies()
    made = Table(PoolSet(), Recorder("test", tallies, bound=100), tallies)
    documents: dict[str, dict[str, Any] | None] = {f"route/{model}": route(model, "1") for model in "ab"}
    for model in "ab":
        for version in "12345":
            documents[f"version/{model}/{version}"] = version_document(model, version, LABEL)
    committed(made, documents)
    return made


def test_a_model_that_nobody_asks_for_holds_no_pools_tallies_or_paths(table: Table) -> None:
    assert (table.by_path, table.entries, table.recorder.models) == ({}, {}, {})
    found = table.find(path("a"))
    assert found is not None
    assert list(table.by_path) == [path("a")]
    assert (table.pools.pools, table.tallies.versions) == ({}, {})
    target = found[0].targets["3"]
    target.tally.asked += 1
    assert target.pool is table.pools.get("a", "3")
    assert target.tally is table.tallies.versions["a", "3", "p"]
    assert list(table.pools.pools) == [("a", "3")]


def test_a_target_has_no_other_attributes(table: Table) -> None:
    found = table.find(path("a"))
    assert found is not None
    with pytest.raises(AttributeError):
        found[0].targets["1"].talley  # type: ignore[attr-defined] # noqa: B018


async def test_a_worker_that_came_before_the_first_request_is_chosen(table: Table) -> None:
    lease = Lease(
        worker_id="w", model="a", version="1", digest=DIGEST, host="127.0.0.1", port=1, pid=1,
        state=WorkerState.READY, started_ms=0,
    )  # fmt: skip
    table.pools.update([lease])
    found = table.find(path("a"))
    assert found is not None
    picked = found[0].targets["1"].pool.pick()
    assert picked is not None
    assert picked.worker_id == "w"


def test_a_commit_unbinds_only_the_models_that_it_touches(table: Table) -> None:
    pinned = b"/v2/models/a/versions/5/infer"
    before = {model: table.find(path(model)) for model in "ab"}
    assert table.find(pinned) is not None
    committed(table, {"route/a": route("a", "2")})
    assert list(table.by_path) == [path("b")]
    assert table.by_path[path("b")] is before["b"]
    after = table.find(path("a"))
    assert after is not None
    assert before["a"] is not None
    assert after[0].compiled.split.single == "2"
    assert before["a"][0].compiled.split.single == "1"
    assert after[0].budget is before["a"][0].budget


def test_a_new_version_can_be_pinned_and_a_deleted_model_is_gone(table: Table) -> None:
    pinned = b"/v2/models/a/versions/6/infer"
    assert table.find(path("a")) is not None
    assert table.find(pinned) is None
    committed(table, {"version/a/6": version_document("a", "6", LABEL)})
    assert table.find(pinned) is not None
    committed(table, {"route/a": None} | {f"version/a/{version}": None for version in "123456"})
    assert table.find(path("a")) is None
    assert table.find(pinned) is None
    assert (table.by_path, table.entries) == ({}, {})


def test_paths_that_nothing_serves_leave_nothing_behind(table: Table) -> None:
    committed(table, {"route/b": None})
    for unknown in (b"/", b"/v2/models/c/infer", b"/v2/models/a/infer/", b"/v2/models/a/versions/9/infer",
                    b"/v2/models/b/infer", b"/v2/models//infer", b"/v2/models/\xff/infer"):  # fmt: skip
        assert table.find(unknown) is None
    assert not table.by_path
    assert table.find(b"/v2/models/b/versions/1/infer") is not None
