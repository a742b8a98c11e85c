"""Editing routes over the control API: one atomic commit each, conflicts that say who, nothing half-done."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.store.documents import Documents
from tests.control.world import (
    add_ready_versions,
    add_versions,
    add_worker,
    announce,
    document,
    following_gateway,
    split,
)

pytestmark = pytest.mark.usefixtures("versions")


@pytest.fixture
async def versions(redis: Redis) -> None:
    await add_ready_versions(redis, "1", "2", "3")


async def edit(api: httpx2.AsyncClient, edit: dict[str, Any], *, model: str = "digits", **how: Any) -> Any:
    reply = await api.post(f"/routes/{model}/edit", json={"edit": edit, **how})
    return {"status": reply.status_code, **reply.json()}


def to_split(*weights: tuple[str, float]) -> dict[str, Any]:
    return {"kind": "split", "split": split(*weights)}


async def test_an_edit_is_one_commit_with_author_reason_and_differences(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    first = await edit(api, to_split(("1", 100)))
    second = await edit(api, to_split(("1", 90), ("2", 10)), reason="canary")
    assert (first["status"], second["status"]) == (200, 200)
    assert second["previous_revision"] == first["revision"]
    assert second["differences"] == ["split.1: 100 -> 90", "split.2: none -> 10"]
    shown = await api.get("/routes/digits")
    assert shown.headers["etag"] == f'"{second["revision"]}"'
    assert shown.json()["document"]["split"] == split(("1", 90), ("2", 10))
    assert (shown.json()["author"], shown.json()["reason"]) == ("ana@desk", "canary")
    audit = (await api.get("/audit")).json()["entries"][0]
    assert (audit["author"], audit["revision"]) == ("ana@desk", second["revision"])


async def test_an_edit_that_changes_nothing_commits_nothing(api: httpx2.AsyncClient) -> None:
    first = await edit(api, to_split(("1", 100)))
    again = await edit(api, to_split(("1", 100)))
    assert (again["changed"], again["revision"]) == (False, first["revision"])


async def test_a_dry_run_tells_everything_and_changes_nothing(api: httpx2.AsyncClient, redis: Redis) -> None:
    first = await edit(api, to_split(("1", 100)))
    tried = await edit(api, to_split(("2", 100)), dry_run=True, wait_s=60)
    assert (tried["changed"], tried["applied"], tried["revision"]) == (True, None, first["revision"])
    assert tried["differences"] == ["split.1: 100 -> none", "split.2: none -> 100"]
    assert (await Documents(redis).follow(0)).revision == first["revision"]


async def test_a_stale_revision_is_a_conflict_that_says_what_changed_and_who(api: httpx2.AsyncClient) -> None:
    base = (await edit(api, to_split(("1", 100))))["revision"]
    await api.post(
        "/routes/digits/edit",
        json={"edit": to_split(("1", 80), ("2", 20)), "reason": "more canary"},
        headers={"x-turnout-author": "bo@laptop"},
    )
    for how in ({"json": {"expected_revision": base}}, {"json": {}, "headers": {"if-match": f'"{base}"'}}):
        body = {"edit": to_split(("1", 100)), **how["json"]}
        reply = await api.post("/routes/digits/edit", json=body, headers=how.get("headers", {}))
        found = reply.json()
        assert (reply.status_code, found["code"]) == (409, "conflict")
        assert "bo@laptop changed digits in revision" in found["error"]
        assert "more canary" in found["error"]
        assert found["changes"] == ["split.1: 100 -> 80", "split.2: none -> 20"]
        assert (found["author"], found["expected_revision"]) == ("bo@laptop", base)


async def test_of_operators_at_once_one_wins_and_the_others_are_told(api: httpx2.AsyncClient) -> None:
    base = (await edit(api, to_split(("1", 100))))["revision"]
    replies = await asyncio.gather(
        *(edit(api, to_split(("1", 90 - n), ("2", 10 + n)), expected_revision=base) for n in range(8))
    )
    assert sorted(reply["status"] for reply in replies) == [200] + [409] * 7
    history = (await api.get("/routes/digits/history")).json()["history"]
    assert len(history) == 2


async def test_operators_of_different_models_never_conflict(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_ready_versions(redis, "1", "2", model="iris")
    base = (await edit(api, to_split(("1", 100))))["revision"]
    assert (await edit(api, to_split(("2", 100)), model="iris"))["status"] == 200
    assert (await edit(api, to_split(("2", 100)), expected_revision=base))["status"] == 200


async def test_revision_0_means_that_there_must_be_no_route_yet(api: httpx2.AsyncClient) -> None:
    assert (await edit(api, to_split(("1", 100)), expected_revision=0))["status"] == 200
    assert (await edit(api, to_split(("2", 100)), expected_revision=0))["status"] == 409
    assert (await edit(api, to_split(("2", 100)), expected_revision=99))["error"].startswith(
        "revision 99 of digits was expected"
    )


BAD_ROUTES = [
    (document(weights=[("1", 90), ("2", 5)]), ["split: weights sum to 95, not to 100"]),
    (document(weights=[("1", 110), ("2", -10)]), ["split.0.weight", "split.1.weight"]),
    (document(weights=[("1", 100)], colour="red"), ["colour: Extra inputs are not permitted"]),
    (document(weights=[("7", 100)]), ["split.0.version: version 7 of digits is not registered"]),
    (document(weights=[("7", 50), ("8", 50)]), ["split.0.version", "split.1.version"]),
    (document(weights=[("1", 100)], record={"output": "x"}), ["record.output: version 1 has no output"]),
    (
        document(weights=[("1", 100)], timeout_s="soon", retry={"attempts": 0}),
        ["timeout_s", "retry.attempts"],
    ),
    (document(weights=[("../1", 100)]), ["split.0.version"]),
    ({"model": "iris", "split": split(("1", 100))}, ["model: is iris"]),
    ({}, ["model: Field required"]),
    ([], ["document: "]),
]


@pytest.mark.parametrize(("route", "problems"), BAD_ROUTES)
async def test_a_bad_document_is_refused_with_the_path_of_every_problem(
    api: httpx2.AsyncClient, route: Any, problems: list[str]
) -> None:
    found = await edit(api, {"kind": "replace", "route": route})
    assert (found["status"], found["code"]) == (422, "invalid_document")
    for problem in problems:
        assert any(told.startswith(problem) for told in found["problems"]), (problem, found["problems"])
    assert (await api.get("/routes/digits")).status_code == 404


BAD_BODIES = [
    (b'{"edit": {"kind": "split", "split": [{"version": "1", "weight": NaN}]}}', 400, "invalid_json"),
    (b'{"edit": {"kind": "split", "split": [{"version": "1", "weight": 1e999}]}}', 400, "invalid_json"),
    (b'{"edit": {"kind": "delete", "kind": "delete"}}', 400, "invalid_json"),
    (b'{"edit": ' + b"[" * 50_000, 400, "invalid_json"),
    (b"\xff\xfe", 400, "invalid_json"),
    (b"\xef\xbb\xbf{}", 400, "invalid_json"),
    (b'{"edit": {"kind": "delete"}', 400, "invalid_json"),
    (b'"' + b"x" * 10_000_000 + b'"', 413, "too_large"),
    (b'{"edit": {"kind": "explode"}}', 422, "invalid_document"),
    (b'{"edit": {"kind": "delete"}, "expected": 3}', 422, "invalid_document"),
    (b"", 422, "invalid_document"),
    (b"null", 422, "invalid_document"),
]


@pytest.mark.parametrize(("body", "status", "code"), BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_a_bad_body_is_refused_unread_or_with_a_reason(
    api: httpx2.AsyncClient, body: bytes, status: int, code: str
) -> None:
    reply = await api.post("/routes/digits/edit", content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.json()["error"]


async def test_traffic_for_a_version_without_workers_is_refused_unless_forced(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_versions(redis, "4")
    await add_worker(redis, "4", digest="0" * 64)  # a worker with other bytes does not count
    found = await edit(api, to_split(("4", 100)))
    assert (found["status"], found["code"]) == (403, "refused")
    assert "version 4 of digits has no ready worker" in found["error"]
    forced = await edit(api, to_split(("4", 100)), force=True)
    assert forced["status"] == 200
    assert "no ready worker" in forced["warnings"][0]


async def test_a_rollback_restores_the_exact_document(api: httpx2.AsyncClient) -> None:
    route = document(
        weights=[("1", 99.9), ("2", 0.1)],
        rules=[{"name": "a", "match": [{"header": "x", "regex": "b+"}], "split": split(("2", 100))}],
        shadows=[{"version": "3", "percent": 12.5}],
        record={"output": "label", "percent": 50},
    )
    first = await edit(api, {"kind": "replace", "route": route})
    await edit(api, to_split(("2", 100)))
    back = await edit(api, {"kind": "rollback"})
    assert back["document"] == first["document"]
    assert back["revision"] > first["revision"]
    again = await edit(api, {"kind": "rollback", "to": first["revision"]})
    assert again["changed"] is False


async def test_a_rollback_that_is_sent_twice_changes_nothing_more(api: httpx2.AsyncClient) -> None:
    oldest = await edit(api, to_split(("3", 100)))
    good = await edit(api, to_split(("1", 100)))
    bad = await edit(api, to_split(("2", 100)))
    assert (await edit(api, {"kind": "rollback"}))["document"] == good["document"]
    again = await edit(api, {"kind": "rollback"}, force=True)
    assert (again["status"], again["code"]) == (403, "refused")
    assert f"rollback digits --to {oldest['revision']}` goes further back" in again["error"]
    assert f"rollback digits --to {bad['revision']}` returns to what it left" in again["error"]
    assert (await api.get("/routes/digits")).json()["document"] == good["document"]


async def test_a_deleted_route_is_gone_and_comes_back_by_rollback(api: httpx2.AsyncClient) -> None:
    first = await edit(api, to_split(("1", 100)))
    gone = await edit(api, {"kind": "delete"})
    assert gone["document"] is None
    assert (await api.get("/routes/digits")).json()["code"] == "no_route"
    back = await edit(api, {"kind": "rollback"}, expected_revision=gone["revision"])
    assert back["document"] == first["document"]


async def test_several_routes_are_applied_together_or_not_at_all(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_ready_versions(redis, "1", "2", model="iris")
    base = (await edit(api, to_split(("1", 100))))["revision"]
    documents = [document(weights=[("2", 100)]), document("iris", [("2", 100)])]

    wrong = await api.post("/apply", json={"documents": [documents[0], document("iris", [("2", 99)])]})
    assert (wrong.status_code, wrong.json()["problems"]) == (
        422, ["iris.split: weights sum to 99, not to 100"],
    )  # fmt: skip
    unknown = await api.post("/apply", json={"documents": [documents[0], document("iris", [("9", 100)])]})
    assert unknown.json()["problems"][0].startswith("iris.split.0.version: version 9")
    stale = await api.post("/apply", json={"documents": documents, "expected_revisions": {"iris": 77}})
    assert (stale.status_code, stale.json()["model"]) == (409, "iris")
    assert (await api.get("/routes/digits")).json()["revision"] == base

    done = (await api.post("/apply", json={"documents": documents})).json()
    assert [(result["model"], result["revision"]) for result in done["results"]] == [
        ("digits", done["revision"]),
        ("iris", done["revision"]),
    ]
    assert (await api.post("/apply", json={"documents": documents})).json()["revision"] is None


async def test_two_documents_about_one_model_are_refused(api: httpx2.AsyncClient) -> None:
    reply = await api.post("/apply", json={"documents": [document(), document()]})
    assert (reply.status_code, reply.json()["problems"]) == (422, ["digits: more than one document"])


async def test_an_export_is_what_an_operator_would_write_and_shows_no_drift(api: httpx2.AsyncClient) -> None:
    await edit(api, to_split(("1", 100)))
    await api.post("/models/digits/cutover", json={"to": "2", "force": True, "observe_s": 0, "wait_s": 0})
    exported = (await api.get("/export")).json()
    assert exported["documents"] == [
        {"model": "digits", "slots": {"blue": "1", "green": "2", "live": "green"}}
    ]
    same = (await api.post("/diff", json={"documents": exported["documents"]})).json()
    assert same["drift"] is False
    other = (await api.post("/diff", json={"documents": [document(weights=[("3", 100)])]})).json()
    assert other["drift"] is True
    assert "split.3: none -> 100" in other["results"][0]["changes"]


async def test_a_commit_waits_until_every_live_gateway_serves_it(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    async with following_gateway(redis, "gw-1"), following_gateway(redis, "gw-2"):
        done = await edit(api, to_split(("1", 100)), wait_s=60)
    applied = done["applied"]
    assert (applied["complete"], applied["gateways"], applied["of"]) == (True, 2, 2)
    assert 0 < applied["ms"] < 5000


async def test_a_gateway_that_stays_behind_is_named(api: httpx2.AsyncClient, redis: Redis) -> None:
    await announce(redis, "gw-9", 0)
    done = await edit(api, to_split(("1", 100)), wait_s=0.05)
    assert done["status"] == 200
    assert done["applied"]["complete"] is False
    assert done["applied"]["stale"] == [{"gateway_id": "gw-9", "address": "127.0.0.1:9080", "revision": 0}]


async def test_without_gateways_there_is_nothing_to_wait_for(api: httpx2.AsyncClient) -> None:
    applied = (await edit(api, to_split(("1", 100)), wait_s=60))["applied"]
    assert (applied["complete"], applied["of"]) == (True, 0)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("nonsense", "not a document of Turnout"),
        ('{"field": 3}', "not a document of Turnout"),
        ({"split": split(("1", 50))}, "split: weights sum to 50, not to 100"),
        ({"model": "iris"}, "is about iris"),
        ({"timeout_s": 9}, "edited by hand in Redis after revision"),
    ],
)
async def test_a_document_edited_by_hand_is_shown_and_mended_by_a_rollback(
    api: httpx2.AsyncClient, redis: Redis, raw: Any, problem: str
) -> None:
    good = await edit(api, to_split(("1", 100)))
    if isinstance(raw, dict):
        envelope = json.loads(await redis.hget(keys.DOCUMENTS, "route/digits") or "")
        envelope["doc"] |= raw
        raw = json.dumps(envelope)
    await redis.hset(keys.DOCUMENTS, "route/digits", raw)

    shown = (await api.get("/routes/digits")).json()
    assert any(problem in told for told in shown["problems"]), shown["problems"]
    assert (shown["last_good_revision"], shown["author"]) == (good["revision"], "ana@desk")

    mended = await edit(api, {"kind": "rollback"})
    assert mended["status"] == 200
    assert mended["document"] == good["document"]
    assert (await api.get("/routes/digits")).json()["problems"] == []


async def test_an_unreadable_route_does_not_hide_the_others(api: httpx2.AsyncClient, redis: Redis) -> None:
    await add_ready_versions(redis, "1", model="iris")
    await edit(api, to_split(("1", 100)))
    await edit(api, to_split(("1", 100)), model="iris")
    await redis.hset(keys.DOCUMENTS, "route/digits", "nonsense")
    listed = (await api.get("/routes")).json()["routes"]
    assert [(item["model"], bool(item["problems"])) for item in listed] == [("digits", True), ("iris", False)]
    part = await edit(api, to_split(("2", 100)))
    assert (part["status"], part["code"]) == (422, "invalid_document")
    assert "turnout route rollback digits" in part["error"]
    assert any(
        "route of digits cannot be read" in told for told in (await api.get("/status")).json()["problems"]
    )


async def test_a_route_removed_by_hand_is_told_and_can_be_put_back(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    good = await edit(api, to_split(("1", 100)))
    await redis.hdel(keys.DOCUMENTS, "route/digits")
    shown = (await api.get("/routes/digits")).json()
    assert "removed from Redis by hand" in shown["problems"][0]
    assert (await edit(api, {"kind": "rollback"}))["document"] == good["document"]


async def test_the_history_says_what_each_revision_changed(api: httpx2.AsyncClient) -> None:
    await edit(api, to_split(("1", 100)))
    await edit(api, to_split(("1", 90), ("2", 10)))
    history = (await api.get("/routes/digits/history")).json()["history"]
    assert history[0]["changes"] == ["split.1: 100 -> 90", "split.2: none -> 10"]
    limited = (await api.get("/routes/digits/history", params={"limit": 1})).json()["history"]
    assert limited == history[:1]


async def test_a_history_goes_on_page_by_page(api: httpx2.AsyncClient) -> None:
    made = [
        (await edit(api, to_split(("1", 100 - share), ("2", share))))["revision"] for share in range(1, 8)
    ]
    whole = (await api.get("/routes/digits/history")).json()["history"]
    paged: list[Any] = []
    before: int | None = None
    while True:
        asked = {"limit": 3} | ({} if before is None else {"before": before})
        page = (await api.get("/routes/digits/history", params=asked)).json()
        paged += page["history"]
        before = page["next"]
        if before is None:
            break
    assert paged == whole
    assert [entry["revision"] for entry in paged] == made[::-1]
