"""What happens to a version after its registration: lineage kept, tags changed, aliases moved, removal
refused.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.control.registry.catalogue import Catalogue
from gateway.control.settings import ControlSettings
from gateway.store.documents import Documents
from tests.control.test_models import model_file, put, upload
from tests.control.world import add_ready_versions, add_versions, split

LINEAGE = {"kind": "git", "git_commit": "a" * 40, "git_clean": True, "created_by": "Ana <ana@desk>"}


async def registered(api: httpx2.AsyncClient, version: str = "1", **fields: Any) -> Any:
    digest = (await upload(api, model_file()))["digest"]
    return await put(api, version, digest=digest, **fields)


async def test_lineage_and_card_are_kept_with_what_the_file_says(api: httpx2.AsyncClient) -> None:
    await registered(api, lineage=LINEAGE, card="# Digits")
    shown = (await api.get("/models/digits/versions/1")).json()
    assert LINEAGE.items() <= shown["lineage"].items()
    assert (shown["card"], shown["opsets"]) == ("# Digits", {"ai.onnx": 17})


async def test_registering_again_from_elsewhere_keeps_the_first_lineage(api: httpx2.AsyncClient) -> None:
    await registered(api, lineage=LINEAGE)
    again = await registered(api, lineage={**LINEAGE, "git_commit": "b" * 40})
    assert (again["status"], again["changed"], again["lineage"]["git_commit"]) == (200, False, "a" * 40)


@pytest.mark.parametrize(
    "fields",
    [
        {"card": "x" * 65_537}, {"card": "ü" * 40_000}, {"lineage": {"git_commit": "main"}},
        {"lineage": {"who": "x"}}, {"lineage": {"parameters": {str(n): "" for n in range(65)}}},
    ],
    ids=["long card", "long card in bytes", "no commit", "unknown field", "too many parameters"],
)  # fmt: skip
async def test_lineage_that_is_none_is_refused(api: httpx2.AsyncClient, fields: dict[str, Any]) -> None:
    assert (await registered(api, **fields))["status"] == 422


async def test_the_same_file_under_another_version_is_pointed_out(api: httpx2.AsyncClient) -> None:
    assert (await registered(api, "1"))["warnings"] == []
    assert (await registered(api, "2"))["warnings"] == ["the same file is registered as digits 1"]


async def test_of_two_registrations_at_once_one_wins_and_the_other_is_told(api: httpx2.AsyncClient) -> None:
    digests = [(await upload(api, model_file(width=width)))["digest"] for width in (4, 5)]
    both = await asyncio.gather(*(put(api, "1", digest=digest) for digest in digests))
    assert sorted(reply["status"] for reply in both) == [201, 409]
    won = next(digest for digest, reply in zip(digests, both, strict=True) if reply["status"] == 201)
    assert (await api.get("/models/digits/versions/1")).json()["digest"] == won


@pytest.mark.parametrize("name", ["a/b", "a%2Fb", "..", "a\n", "a%0A", "dіgits", "-x", ""])
async def test_names_that_are_none_are_refused(api: httpx2.AsyncClient, name: str) -> None:
    digest = (await upload(api, model_file()))["digest"]
    for path in (f"/models/{name}/versions/1", f"/models/digits/versions/{name}"):
        try:
            reply = await api.put(path, json={"digest": digest})
        except httpx2.InvalidURL:
            continue
        assert reply.status_code in (400, 404, 405, 422)
    assert (await api.get("/models")).json()["models"] == []


async def test_tags_change_and_nothing_else_does(api: httpx2.AsyncClient) -> None:
    before = await registered(api, tags={"stage": "new", "team": "a"})
    reply = await api.put("/models/digits/versions/1/tags", json={"tags": {"stage": "good", "team": None}})
    assert reply.json()["tags"] == {"stage": "good"}
    after = (await api.get("/models/digits/versions/1")).json()
    changed = {key for key in before.keys() & after.keys() if before[key] != after[key]}
    assert changed == {"tags", "revision"}
    newest = (await api.get("/audit")).json()["entries"][0]
    assert newest["reason"] == "tags of version 1 of digits: stage, team"


async def test_a_version_in_use_is_not_removed_and_the_refusal_says_by_whom(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_ready_versions(redis, "1", "2", "3")
    await api.post("/routes/digits/edit", json={"edit": {"kind": "split", "split": split(("1", 100))}})
    await api.put("/models/digits/aliases/champion", json={"version": "2"})
    for version, user in (("1", "route split.0.version"), ("2", "alias champion")):
        refused = await api.request("DELETE", f"/models/digits/versions/{version}", json={})
        assert refused.status_code == 409, refused.text
        assert refused.json()["users"] == [user]
    assert (await api.request("DELETE", "/models/digits/versions/3", json={})).status_code == 200
    assert (await api.get("/models/digits/versions/3")).status_code == 404
    assert (await api.get("/models")).json()["models"] == [{"model": "digits", "versions": ["1", "2"]}]


@pytest.fixture
def just_before(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Awaitable[Any]]], None]:
    """Has something else happen at the last moment: after all looks, before the next commit."""
    commit = Documents.commit

    def arrange(act: Callable[[], Awaitable[Any]]) -> None:
        pending = [act]

        async def late(self: Documents, *arguments: Any, **named: Any) -> Any:
            if pending:
                await pending.pop()()
            return await commit(self, *arguments, **named)

        monkeypatch.setattr(Documents, "commit", late)

    return arrange


JustBefore = Callable[[Callable[[], Awaitable[Any]]], None]


@pytest.mark.parametrize("by", ["route", "alias", "rollout"])
async def test_of_a_removal_and_a_use_at_once_only_the_first_is_committed(
    api: httpx2.AsyncClient, redis: Redis, just_before: JustBefore, by: str
) -> None:
    await add_ready_versions(redis, "1", "2")
    await api.post("/routes/digits/edit", json={"edit": {"kind": "split", "split": split(("1", 100))}})
    plan = {"steps": [{"weight": 10, "hold": {"min_s": 60}}]}

    async def use() -> httpx2.Response:
        match by:
            case "route":
                edit = {"kind": "split", "split": split(("1", 50), ("2", 50))}
                return await api.post("/routes/digits/edit", json={"edit": edit})
            case "alias":
                return await api.put("/models/digits/aliases/best", json={"version": "2"})
            case _:
                return await api.post("/models/digits/rollouts", json={"plan": {**plan, "candidate": "2"}})

    async def remove() -> httpx2.Response:
        return await api.request("DELETE", "/models/digits/versions/2", json={})

    just_before(use)
    late = await remove()
    assert (late.status_code, late.json()["code"]) == (409, "conflict"), late.text
    assert (await api.get("/models/digits/versions/2")).status_code == 200


@pytest.mark.parametrize("by", ["route", "alias", "rollout", "workers"])
async def test_a_version_that_is_removed_at_this_moment_cannot_be_named_any_more(
    api: httpx2.AsyncClient, redis: Redis, just_before: JustBefore, by: str
) -> None:
    await add_ready_versions(redis, "1", "2")
    await api.post("/routes/digits/edit", json={"edit": {"kind": "split", "split": split(("1", 100))}})
    just_before(lambda: api.request("DELETE", "/models/digits/versions/2", json={}))
    match by:
        case "route":
            edit = {"kind": "split", "split": split(("1", 50), ("2", 50))}
            late = await api.post("/routes/digits/edit", json={"edit": edit})
        case "alias":
            late = await api.put("/models/digits/aliases/best", json={"version": "2"})
        case "workers":
            late = await api.put("/models/digits/versions/2/workers", json={"workers": 3})
        case _:
            plan = {"steps": [{"weight": 10, "hold": {"min_s": 60}}], "candidate": "2"}
            late = await api.post("/models/digits/rollouts", json={"plan": plan})
    assert late.status_code in (404, 409), late.text
    assert (await api.get("/models/digits/versions/2")).status_code == 404
    newest = (await api.get("/audit")).json()["entries"][0]
    assert newest["reason"] == "remove version 2 of digits"


async def test_a_file_comes_back_as_it_was_sent(api: httpx2.AsyncClient) -> None:
    made = await registered(api)
    reply = await api.get("/models/digits/versions/1/artifact")
    assert hashlib.sha256(reply.content).hexdigest() == made["digest"] == reply.headers["x-turnout-digest"]


async def test_a_wrong_byte_in_the_store_is_noticed_before_a_byte_is_sent(
    api: httpx2.AsyncClient, settings: ControlSettings
) -> None:
    digest = (await registered(api))["digest"]
    path = settings.artifacts_dir / "sha256" / digest[:2] / digest
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    reply = await api.get("/models/digits/versions/1/artifact")
    assert (reply.status_code, "changed in the store" in reply.json()["error"]) == (500, True)
    path.unlink()
    gone = await api.get("/models/digits/versions/1/artifact")
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


async def test_an_alias_moves_with_reason_and_only_from_where_it_is_expected(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_versions(redis, "1", "2")
    first = (await api.put("/models/digits/aliases/champion", json={"version": "1"})).json()
    move = {"version": "2", "expected_revision": first["revision"], "reason": "better"}
    moved = (await api.put("/models/digits/aliases/champion", json=move)).json()
    assert (moved["aliases"], moved["changed"]) == ({"champion": "2"}, True)
    late = await api.put("/models/digits/aliases/champion", json={**move, "version": "1"})
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    history = (await api.get("/models/digits/aliases/history")).json()["history"]
    assert [item["aliases"] for item in history] == [{"champion": "2"}, {"champion": "1"}]
    assert history[0]["reason"] == "alias champion of digits: 1 -> 2 (better)"
    assert (await api.put("/models/digits/aliases/champion", json={"version": "9"})).status_code == 404
    gone = await api.put("/models/digits/aliases/champion", json={"version": None})
    assert gone.json()["aliases"] == {}


@pytest.mark.parametrize(
    ("search", "versions"),
    [
        ("tag:stage=good", ["2"]), ("tag:stage", ["1", "2"]), ("metric:accuracy>0.9", ["2"]),
        ("metric:accuracy<=0.9 owner:ana", ["1"]), ("ANA", ["1"]), ("nothing", []),
    ],
)  # fmt: skip
async def test_a_search_finds_by_tag_metric_owner_and_word(
    api: httpx2.AsyncClient, search: str, versions: list[str]
) -> None:
    await registered(api, "1", owner="ana", tags={"stage": "new"}, metrics={"accuracy": 0.9})
    await registered(api, "2", owner="bo", tags={"stage": "good"}, metrics={"accuracy": 0.95})
    found = (await api.get("/models", params={"search": search})).json()["models"]
    assert [name for item in found for name in item["versions"]] == versions


async def test_a_metric_search_without_a_number_is_refused(api: httpx2.AsyncClient) -> None:
    assert (await api.get("/models", params={"search": "metric:accuracy>high"})).status_code == 400


async def test_pages_together_are_all_models(api: httpx2.AsyncClient, redis: Redis) -> None:
    for model in ("a", "b", "c"):
        await add_versions(redis, "1", model=model)
    first = (await api.get("/models", params={"limit": 2})).json()
    rest = (await api.get("/models", params={"limit": 2, "after": first["next"]})).json()
    assert [item["model"] for item in first["models"] + rest["models"]] == ["a", "b", "c"]
    assert rest["next"] is None


async def test_the_catalogue_begins_again_when_redis_lost_its_data(redis: Redis) -> None:
    catalogue = Catalogue(Documents(redis), keep_warm_s=300.0)
    await add_versions(redis, "1")
    await add_versions(redis, "2")
    assert set((await catalogue.models())["digits"]) == {"1", "2"}
    await redis.flushdb()
    await add_versions(redis, "3")
    assert set((await catalogue.models())["digits"]) == {"3"}


async def test_a_registration_that_was_cut_off_after_its_file_is_repeated_whole(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    """A control process that dies between file and document leaves a file that nobody names."""
    await upload(api, model_file())
    assert (await api.get("/models")).json()["models"] == []
    assert (await registered(api))["status"] == 201
    assert (await registered(api))["changed"] is False
