"""The audit: who changed what, what was live then, and every way to tamper with its stream shows."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.control.settings import ControlSettings
from gateway.core.chain import link_of
from tests.control.test_access import another
from tests.control.world import add_ready_versions, split

Tamper = Callable[[Redis], Awaitable[None]]
CHANGES = 8
SIGNED = 6  # of them, when the head is signed


@pytest.fixture
async def changed(api: httpx2.AsyncClient, redis: Redis) -> dict[str, Any]:
    """Versions and eight changes of a route; the head covers all but two of these."""
    await add_ready_versions(redis, "1", "2")
    head: dict[str, Any] = {}
    for number in range(CHANGES):
        if number == SIGNED:
            head = (await api.post("/audit/head", json={})).json()["head"]
        await set_split(api, number + 1)
    return head


async def set_split(api: httpx2.AsyncClient, percent: int, **how: Any) -> int:
    edit = {"kind": "split", "split": split(("1", 100 - percent), ("2", percent))}
    reply = await api.post("/routes/digits/edit", json={"edit": edit, **how})
    assert reply.status_code == 200, reply.text
    return int(reply.json()["revision"])


async def verified(api: httpx2.AsyncClient, **wish: Any) -> Any:
    reply = await api.post("/audit/verify", json=wish)
    assert reply.status_code == 200, reply.text
    return reply.json()


Entries = list[tuple[bytes, dict[bytes, bytes]]]


async def entries_of(redis: Redis) -> Entries:
    found: Any = await redis.xrange(keys.AUDIT)
    return list(found)


async def rewrite(redis: Redis, entries: Entries, *, relink: bool = False) -> None:
    """The stream as an intruder would like it; with the links made anew if they know how."""
    await redis.delete(keys.AUDIT)
    link = b""
    for entry_id, entry in entries:
        if relink:
            entry = {**entry, b"link": link_of(entry, link)}
        link = entry[b"link"]
        await redis.xadd(keys.AUDIT, entry, id=entry_id)  # type: ignore[arg-type]


async def edit(redis: Redis) -> None:
    entries = await entries_of(redis)
    entries[3][1][b"author"] = b"somebody else"
    await rewrite(redis, entries)


async def edit_and_relink(redis: Redis) -> None:
    entries = await entries_of(redis)
    entries[3][1][b"author"] = b"somebody else"
    await rewrite(redis, entries, relink=True)


async def delete(redis: Redis) -> None:
    await redis.xdel(keys.AUDIT, (await entries_of(redis))[3][0])


async def delete_unsigned(redis: Redis) -> None:
    await redis.xdel(keys.AUDIT, (await entries_of(redis))[-2][0])


async def edit_unsigned(redis: Redis) -> None:
    """No head covers it yet: the links alone convict."""
    entries = await entries_of(redis)
    entries[-2][1][b"author"] = b"somebody else"
    await rewrite(redis, entries)


async def delete_unsigned_and_relink(redis: Redis) -> None:
    """Neither head nor links convict: the numbers do."""
    entries = await entries_of(redis)
    del entries[-2]
    await rewrite(redis, entries, relink=True)


async def reorder(redis: Redis) -> None:
    entries = await entries_of(redis)
    ids = [entry_id for entry_id, _ in entries]
    contents = [entry for _, entry in entries]
    contents[2], contents[3] = contents[3], contents[2]
    await rewrite(redis, list(zip(ids, contents, strict=True)), relink=True)


async def cut_the_end(redis: Redis) -> None:
    for entry_id, _ in (await entries_of(redis))[-2:]:
        await redis.xdel(keys.AUDIT, entry_id)


async def cut_the_end_behind_the_head_with_the_counter(redis: Redis) -> None:
    entries = await entries_of(redis)
    for entry_id, _ in entries[-4:]:
        await redis.xdel(keys.AUDIT, entry_id)
    await redis.set(keys.REVISION, entries[-5][1][b"revision"])


async def cut_the_beginning(redis: Redis) -> None:
    await redis.xtrim(keys.AUDIT, maxlen=5, approximate=False)


async def empty(redis: Redis) -> None:
    await redis.delete(keys.AUDIT)


async def replace_all(redis: Redis) -> None:
    """Another history, whole in itself, with heads removed from Redis."""
    entries = await entries_of(redis)
    for _, entry in entries:
        entry[b"reason"] = b"nothing happened"
    await rewrite(redis, entries, relink=True)
    await redis.delete(keys.AUDIT_HEADS)


async def add(redis: Redis) -> None:
    await redis.xadd(keys.AUDIT, {"revision": "99", "author": "nobody"})


async def forge_a_head(redis: Redis) -> None:
    """The edit, and a head that fits it but for the signature, in place of the real ones."""
    await edit_and_relink(redis)
    real = json.loads((await redis.lindex(keys.AUDIT_HEADS, -1)) or b"{}")
    await redis.delete(keys.AUDIT_HEADS)
    await redis.rpush(keys.AUDIT_HEADS, json.dumps(real | {"sha256": "0" * 64}))


EVERY_WAY: list[Tamper] = [
    edit, edit_and_relink, edit_unsigned, delete, delete_unsigned, delete_unsigned_and_relink,
    reorder, cut_the_end,
    cut_the_end_behind_the_head_with_the_counter, cut_the_beginning, empty, replace_all, add, forge_a_head,
]  # fmt: skip


async def test_an_untouched_chain_is_whole(api: httpx2.AsyncClient, changed: dict[str, Any]) -> None:
    found = await verified(api)
    assert (found["whole"], found["problems"], found["entries"]) == (True, [], CHANGES + 1)
    assert (found["heads"], found["unsigned_entries"], found["strangers"]) == (1, CHANGES - SIGNED, 0)
    assert (await verified(api, head=changed))["whole"]


@pytest.mark.parametrize("tamper", EVERY_WAY, ids=lambda tamper: tamper.__name__)
async def test_tampering_with_the_stream_shows(
    api: httpx2.AsyncClient, redis: Redis, changed: dict[str, Any], tamper: Tamper
) -> None:
    await tamper(redis)
    found = await verified(api)
    assert not found["whole"]
    assert found["problems"]


@pytest.mark.parametrize(
    "tamper", [edit_and_relink, replace_all, cut_the_end_behind_the_head_with_the_counter, forge_a_head],
    ids=lambda tamper: tamper.__name__,
)  # fmt: skip
async def test_a_kept_head_convicts_without_the_signing_key_and_its_files(
    api: httpx2.AsyncClient,
    redis: Redis,
    changed: dict[str, Any],
    tamper: Tamper,
    tmp_path: Path,
    settings: ControlSettings,
) -> None:
    await tamper(redis)
    async with another(replace(settings, data_dir=tmp_path / "another-machine")) as elsewhere:
        found = await verified(elsewhere, head=changed)
    assert not found["whole"]


async def test_the_file_of_heads_convicts_when_those_in_redis_are_gone(
    api: httpx2.AsyncClient, redis: Redis, changed: dict[str, Any], settings: ControlSettings
) -> None:
    await replace_all(redis)
    assert not (await verified(api))["whole"]
    (settings.data_dir / "audit-heads.jsonl").unlink()
    assert (await verified(api))["whole"]  # so this is all that was between it and passing


async def test_a_trimmed_stream_is_verified_from_a_head_and_from_nothing_else(
    api: httpx2.AsyncClient, redis: Redis, changed: dict[str, Any]
) -> None:
    entries = await entries_of(redis)
    first_kept = next(
        entry_id for entry_id, entry in entries if int(entry[b"revision"]) == changed["revision"] + 1
    )
    await redis.xtrim(keys.AUDIT, minid=first_kept.decode(), approximate=False)
    assert not (await verified(api))["whole"]
    found = await verified(api, from_head=True)
    assert (found["whole"], found["first_behind"]) == (True, changed["revision"])
    await redis.xdel(keys.AUDIT, first_kept)
    assert not (await verified(api, from_head=True))["whole"]


async def test_no_head_is_signed_over_entries_that_do_not_fit(
    api: httpx2.AsyncClient, redis: Redis, changed: dict[str, Any]
) -> None:
    await delete_unsigned(redis)
    refused = await api.post("/audit/head", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


async def test_heads_follow_one_another_and_nothing_new_gives_the_same(
    api: httpx2.AsyncClient, redis: Redis, changed: dict[str, Any], settings: ControlSettings
) -> None:
    second = (await api.post("/audit/head", json={})).json()["head"]
    assert second["revision"] == changed["revision"] + CHANGES - SIGNED
    assert (await api.post("/audit/head", json={})).json()["head"] == second
    async with another(settings) as restarted:  # with the key of before
        await set_split(api, 50)
        third = (await restarted.post("/audit/head", json={})).json()["head"]
        assert (third["revision"], third["signer"]) == (second["revision"] + 1, second["signer"])
        assert (await verified(restarted))["heads"] == 3


async def test_heads_by_a_strange_key_are_told_and_not_believed(
    api: httpx2.AsyncClient, changed: dict[str, Any], settings: ControlSettings, tmp_path: Path
) -> None:
    async with another(replace(settings, data_dir=tmp_path / "other")) as other:
        found = await verified(other)
    assert (found["whole"], found["heads"], found["strangers"]) == (True, 0, 1)


async def test_a_broken_last_line_of_the_heads_file_harms_nothing(
    api: httpx2.AsyncClient, changed: dict[str, Any], settings: ControlSettings
) -> None:
    with (settings.data_dir / "audit-heads.jsonl").open("ab") as file:
        file.write(b'{"revision": 5, "entr')
    assert (await verified(api))["whole"]


async def test_two_processes_that_start_at_once_share_one_signing_key(
    changed: dict[str, Any], settings: ControlSettings
) -> None:
    (settings.data_dir / "audit.key").unlink()
    shutil.rmtree(settings.artifacts_dir, ignore_errors=True)
    async with another(settings) as one, another(settings) as two:
        replies = await asyncio.gather(*(each.post("/audit/head", json={}) for each in (one, two)))
    assert len({reply.json()["head"]["signer"] for reply in replies}) == 1
    assert (settings.data_dir / "audit.key").stat().st_mode & 0o777 == 0o600


async def test_the_log_is_filtered_and_goes_on_page_by_page(
    api: httpx2.AsyncClient, redis: Redis, changed: dict[str, Any]
) -> None:
    await add_ready_versions(redis, "1", model="fraud")
    found, before = [], None
    while True:
        page = (await api.get("/audit", params={"limit": 3} | ({"before": before} if before else {}))).json()
        found += [entry["revision"] for entry in page["entries"]]
        before = page["next"]
        if before is None:
            break
    assert found == sorted(found, reverse=True)
    assert len(found) == CHANGES + 2
    of_fraud = (await api.get("/audit", params={"model": "fraud"})).json()["entries"]
    assert [entry["changes"][0]["field"] for entry in of_fraud] == ["version/fraud/1"]
    mine = (await api.get("/audit", params={"author": "ana@desk"})).json()["entries"]
    assert len(mine) == CHANGES
    since = (await api.get("/audit", params={"since_ms": mine[2]["at_ms"]})).json()["entries"]
    assert {entry["revision"] for entry in mine[:3]} <= {entry["revision"] for entry in since}
    assert mine[-1]["revision"] not in {entry["revision"] for entry in since}


async def test_an_entry_in_full_tells_before_and_after_and_whether_the_history_fits(
    api: httpx2.AsyncClient, redis: Redis, changed: dict[str, Any]
) -> None:
    revision = await set_split(api, 40, reason="more")
    found = (await api.get(f"/audit/entries/{revision}")).json()
    (change,) = found["changes"]
    assert (found["reason"], change["fits"]) == ("more", True)
    assert change["differences"] == ["split.1: 92 -> 60", "split.2: 8 -> 40"]
    assert change["before"]["split"] == split(("1", 92), ("2", 8))
    newest: Any = await redis.lindex(keys.history("route/digits"), 0)
    await redis.lset(keys.history("route/digits"), 0, newest.replace(b"60.0", b"61.0"))
    assert not (await api.get(f"/audit/entries/{revision}")).json()["changes"][0]["fits"]
    assert (await api.get("/audit/entries/9999")).status_code == 404


async def test_what_was_live_at_a_time_is_the_route_of_then(
    api: httpx2.AsyncClient, changed: dict[str, Any]
) -> None:
    history = (await api.get("/routes/digits/history")).json()["history"]
    then, following = history[3], history[2]
    for at_ms in (then["at_ms"], following["at_ms"] - 1):
        if at_ms < then["at_ms"]:
            continue  # two commits within a millisecond
        (live,) = (await api.get("/audit/at", params={"at_ms": at_ms})).json()["routes"]
        if following["at_ms"] > then["at_ms"]:
            assert (live["revision"], live["document"]) == (then["revision"], then["document"])
            assert live["until_ms"] == following["at_ms"]
    (before,) = (await api.get("/audit/at", params={"at_ms": 1})).json()["routes"]
    assert (before["document"], before["known"]) == (None, True)
    none = (await api.get("/audit/at", params={"at_ms": 1, "model": "none"})).json()["routes"]
    assert none[0]["document"] is None


async def test_forced_changes_are_told_with_what_stood_against_them(
    api: httpx2.AsyncClient, redis: Redis
) -> None:
    await add_ready_versions(redis, "1")
    await redis.delete(keys.WORKERS)
    edit = {"kind": "split", "split": split(("1", 100))}
    assert (await api.post("/routes/digits/edit", json={"edit": edit})).status_code == 403
    forced = await api.post("/routes/digits/edit", json={"edit": edit, "force": True})
    assert forced.status_code == 200
    (entry,) = (await api.get("/audit", params={"forced": True})).json()["entries"]
    assert "worker" in entry["forced"]
    assert (await verified(api))["whole"]


async def test_an_export_has_every_entry_as_it_lies_in_redis(
    api: httpx2.AsyncClient, redis: Redis, changed: dict[str, Any]
) -> None:
    page = (await api.get("/audit/export")).json()
    lying = [
        {"id": entry_id.decode(), "parts": [[name.decode(), value.decode()] for name, value in entry.items()]}
        for entry_id, entry in await entries_of(redis)
    ]
    assert page["entries"] == lying
    assert (await api.get("/audit/export", params={"after": page["next"]})).json()["next"] is None


async def test_entries_from_before_the_chain_are_told_apart(api: httpx2.AsyncClient, redis: Redis) -> None:
    for revision in (1, 2):
        await redis.xadd(keys.AUDIT, {"revision": str(revision), "at_ms": "1", "author": "old"})
    await redis.set(keys.REVISION, 2)
    await add_ready_versions(redis, "1")
    found = await verified(api)
    assert (found["whole"], found["older"], found["entries"]) == (True, 2, 3)
