"""Commits: whole or not at all, exactly one winner, kept with history and audit, followed by revision."""

import asyncio
import os
import signal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.errors import CallerError, ConflictError
from gateway.store import documents as module
from gateway.store.connection import ask, connect
from gateway.store.documents import HISTORY_AT_ONCE, Change, Committed, Documents
from gateway.store.embedded import EmbeddedServer
from tests.sockets import PATIENCE_S


@pytest.fixture
def redis_server(shared_server: EmbeddedServer) -> EmbeddedServer:
    return shared_server


async def _commit(documents: Documents, *changes: Change, op_id: str, author: str = "ada") -> Committed:
    return await documents.commit(changes, author=author, reason=f"because of {op_id}", op_id=op_id)


async def test_a_commit_is_read_back_as_written(documents: Documents) -> None:
    doc: dict[str, Any] = {
        "empty": [],
        "nothing": {},
        "null": None,
        "big": 2**60 + 1,
        "small": 0.1,
        "text": 'ä "quoted" \\ \n/',
        "deep": [[[]]],
    }
    committed = await _commit(documents, Change("route/digits", doc, 0), op_id="1", author='A "B" \\ ä\n')
    envelope = await documents.get("route/digits")
    assert envelope is not None
    assert envelope.doc == doc
    assert envelope.author == 'A "B" \\ ä\n'
    assert (envelope.field, envelope.revision) == ("route/digits", committed.revision)
    assert envelope.at_ms == committed.at_ms


async def test_several_documents_are_committed_as_one_revision(documents: Documents) -> None:
    await _commit(documents, Change("route/a", {"n": 1}, 0), op_id="1")
    both = await _commit(documents, Change("route/a", {"n": 2}, 1), Change("route/b", {}, 0), op_id="2")
    assert both.revision == 2
    assert {field: found.revision for field, found in (await documents.all("route/")).items()} == {
        "route/a": 2,
        "route/b": 2,
    }


async def test_a_conflict_changes_nothing_and_says_who_was_first(documents: Documents, redis: Redis) -> None:
    await _commit(documents, Change("route/a", {"n": 1}, 0), Change("route/b", {}, 0), op_id="1")
    second = await _commit(documents, Change("route/b", {"n": 2}, 1), op_id="2", author="grace")
    before = {key: await redis.dump(key) for key in await redis.keys()}
    with pytest.raises(ConflictError) as raised:
        await _commit(documents, Change("route/a", {"n": 9}, 1), Change("route/b", {"n": 9}, 1), op_id="3")
    assert raised.value.data == {
        "field": "route/b",
        "current_revision": 2,
        "author": "grace",
        "at_ms": second.at_ms,
        "reason": "because of 2",
    }
    assert "route/b was changed by grace in revision 2 (because of 2)" in raised.value.message
    assert {key: await redis.dump(key) for key in await redis.keys()} == before


async def test_changes_of_different_documents_do_not_conflict(documents: Documents) -> None:
    await _commit(documents, Change("route/a", {}, 0), op_id="1")
    await _commit(documents, Change("route/b", {}, 0), op_id="2")
    await _commit(documents, Change("route/c", {}, 0), op_id="3")
    assert (await _commit(documents, Change("route/a", {"n": 1}, 1), op_id="4")).revision == 4


@pytest.mark.parametrize("expected", [1, 7])
async def test_expecting_a_document_that_never_was_is_a_conflict(documents: Documents, expected: int) -> None:
    with pytest.raises(ConflictError, match="route/a does not exist") as raised:
        await _commit(documents, Change("route/a", {}, expected), op_id="1")
    assert raised.value.data["current_revision"] == 0


async def test_creating_what_exists_is_a_conflict(documents: Documents) -> None:
    await _commit(documents, Change("route/a", {}, 0), op_id="1")
    with pytest.raises(ConflictError, match="was changed by ada in revision 1"):
        await _commit(documents, Change("route/a", {}, 0), op_id="2")


async def test_a_deleted_document_is_gone_and_may_be_made_again(documents: Documents) -> None:
    await _commit(documents, Change("route/a", {"n": 1}, 0), op_id="1")
    await _commit(documents, Change("route/a", None, 1), op_id="2")
    assert await documents.get("route/a") is None
    assert await documents.all("route/") == {}
    with pytest.raises(ConflictError, match="was changed by ada in revision 2"):
        await _commit(documents, Change("route/a", {"n": 2}, 1), op_id="3")
    await _commit(documents, Change("route/a", {"n": 3}, 0), op_id="4")
    assert [(entry.revision, entry.doc) for entry in await documents.history("route/a")] == [
        (3, {"n": 3}),
        (2, None),
        (1, {"n": 1}),
    ]


async def test_a_commit_holds_only_while_what_it_rests_on_is_as_it_was(documents: Documents) -> None:
    first = await _commit(documents, Change("version/d/1", {"a": 1}, 0), op_id="one")
    change = [Change("route/d", {"b": 1}, 0)]

    async def rests_on(field: str, revision: int | None, op_id: str) -> bool:
        try:
            await documents.commit(change, author="bo", reason="", op_id=op_id, requires={field: revision})
        except ConflictError as error:
            return (error.data["field"], await documents.get("route/d")) != (field, None)
        await documents.commit([Change("route/d", None, None)], author="bo", reason="", op_id=f"un-{op_id}")
        return True

    assert await rests_on("version/d/1", first.revision, "same")
    assert not await rests_on("version/d/1", first.revision + 1, "other")
    assert not await rests_on("version/d/1", 0, "none")
    assert await rests_on("version/d/1", None, "there")
    assert not await rests_on("version/d/2", None, "not there")
    assert await rests_on("version/d/2", 0, "none is there")
    await _commit(documents, Change("version/d/1", None, None), op_id="gone")
    assert not await rests_on("version/d/1", None, "gone since")
    assert await rests_on("version/d/1", 0, "gone, as expected")


async def test_whatever_revision_is_accepted_when_none_is_expected(documents: Documents) -> None:
    for number in range(3):
        await _commit(documents, Change("route/a", {"n": number}, None), op_id=str(number))
    assert (await documents.follow(0)).revision == 3


async def test_a_repeated_operation_gets_the_first_result_and_is_applied_once(documents: Documents) -> None:
    first = await _commit(documents, Change("route/a", {"n": 1}, 0), op_id="same")
    again = await _commit(documents, Change("route/a", {"n": 1}, 0), op_id="same")
    assert (again.revision, again.at_ms) == (first.revision, first.at_ms)
    assert (await documents.follow(0)).revision == 1
    assert len(await documents.history("route/a")) == 1
    assert len(await documents.audit()) == 1


async def test_an_operation_id_cannot_be_used_for_another_change(documents: Documents) -> None:
    await _commit(documents, Change("route/a", {"n": 1}, 0), op_id="same")
    with pytest.raises(ConflictError, match="was used for another change"):
        await _commit(documents, Change("route/a", {"n": 2}, 1), op_id="same")
    assert (await documents.follow(0)).revision == 1


async def test_an_operation_that_lost_may_be_tried_again_with_its_id(documents: Documents) -> None:
    await _commit(documents, Change("route/a", {"n": 1}, 0), op_id="1")
    for _ in range(2):
        with pytest.raises(ConflictError):
            await _commit(documents, Change("route/a", {"n": 2}, 7), op_id="2")


async def test_of_many_committers_at_once_exactly_one_wins_each_round(redis_url: str) -> None:
    clients = [connect(redis_url, name=f"committer-{number}", timeout_s=PATIENCE_S) for number in range(4)]
    stores = [Documents(client) for client in clients]
    for expected in range(10):
        attempts = [
            _commit(
                stores[number % 4],
                Change("route/a", {"winner": number}, expected),
                Change("route/b", {"winner": number}, expected),
                op_id=f"{expected}-{number}",
                author=f"committer-{number}",
            )
            for number in range(12)
        ]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        won = [number for number, result in enumerate(results) if isinstance(result, Committed)]
        lost = [result for result in results if isinstance(result, ConflictError)]
        assert (len(won), len(lost)) == (1, 11)
        assert {error.data["author"] for error in lost} == {f"committer-{won[0]}"}
        found = await stores[0].all("route/")
        assert [envelope.doc for envelope in found.values()] == [{"winner": won[0]}] * 2
        assert [envelope.revision for envelope in found.values()] == [expected + 1] * 2
    for client in clients:
        await client.aclose()


async def test_committers_in_several_threads_lose_no_update(redis_url: str) -> None:
    def add_ten(name: str) -> None:
        async def work() -> None:
            client = connect(redis_url, name=name, timeout_s=PATIENCE_S)
            store = Documents(client)
            for number in range(10):
                while True:
                    found = await store.get("route/count")
                    count = 0 if found is None or found.doc is None else found.doc["count"]
                    change = Change(
                        "route/count", {"count": count + 1}, 0 if found is None else found.revision
                    )
                    try:
                        await _commit(store, change, op_id=f"{name}-{number}-{count}", author=name)
                        break
                    except ConflictError:
                        continue
            await client.aclose()

        asyncio.run(work())

    await asyncio.gather(*(asyncio.to_thread(add_ten, f"thread-{number}") for number in range(4)))
    client = connect(redis_url, name="test", timeout_s=PATIENCE_S)
    final = await Documents(client).get("route/count")
    await client.aclose()
    assert final is not None
    assert final.doc == {"count": 40}
    assert final.revision == 40


async def test_following_gives_what_changed_since_with_deletions(documents: Documents) -> None:
    assert await documents.follow(0) == (await documents.follow(0))
    assert (await documents.follow(0)).changed == {}
    await _commit(documents, Change("route/a", {"n": 1}, 0), Change("route/b", {}, 0), op_id="1")
    await _commit(documents, Change("route/a", {"n": 2}, 1), op_id="2")
    await _commit(documents, Change("route/b", None, 1), Change("route/c", {}, 0), op_id="3")
    everything = await documents.follow(0)
    assert everything.revision == 3
    assert set(everything.changed) == {"route/a", "route/b", "route/c"}
    assert everything.changed["route/b"] is None
    assert set((await documents.follow(1)).changed) == {"route/a", "route/b", "route/c"}
    assert set((await documents.follow(2)).changed) == {"route/b", "route/c"}
    assert (await documents.follow(3)).changed == {}


async def test_thousands_of_documents_can_be_followed_at_once(documents: Documents) -> None:
    changes = [Change(f"route/model-{number}", {"n": number}, 0) for number in range(2500)]
    await documents.commit(changes, author="ada", reason="", op_id="1")
    followed = await documents.follow(0)
    assert len(followed.changed) == 2500
    assert b'"n":2499' in (followed.changed["route/model-2499"] or b"")


async def test_a_page_ends_with_a_whole_revision(
    documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.documents.PAGE_DOCUMENTS", 2)
    for number, names in enumerate(("a", "bcd", "e", "fg"), 1):
        await _commit(documents, *(Change(f"route/{name}", {}, 0) for name in names), op_id=str(number))
    pages = [await documents.page(0)]
    while not pages[-1].is_last:
        pages.append(await documents.page(pages[-1].upto))
    assert ["".join(field[-1] for field in page.changed) for page in pages] == ["abcd", "efg"]
    assert [(page.revision, page.upto) for page in pages] == [(4, 2), (4, 4)]
    assert set((await documents.follow(0)).changed) == {f"route/{name}" for name in "abcdefg"}


async def test_a_lost_table_shows_as_a_lower_revision(documents: Documents, redis: Redis) -> None:
    await _commit(documents, Change("route/a", {}, 0), op_id="1")
    await redis.flushall()
    lost = await documents.follow(1)
    assert (lost.revision, lost.changed) == (0, {})


async def test_a_commit_is_announced(documents: Documents, redis: Redis) -> None:
    async with redis.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(keys.CHANGES)
        await _commit(documents, Change("route/a", {}, 0), op_id="1")
        message = None
        async with asyncio.timeout(PATIENCE_S):
            while message is None:
                message = await channel.get_message(timeout=0.2)
    assert message is not None
    assert message["data"] == b"commit 1"


async def test_every_commit_is_audited_with_what_it_replaced(documents: Documents) -> None:
    await _commit(documents, Change("route/a", {}, 0), op_id="1")
    last = await _commit(documents, Change("route/a", None, 1), Change("route/ä", {}, 0), op_id="2")
    newest, oldest = await documents.audit()
    assert newest | {"id": "", "link": ""} == {
        "id": "",
        "link": "",
        "key_id": "",
        "request_id": "",
        "forced": "",
        "revision": 2,
        "at_ms": last.at_ms,
        "author": "ada",
        "reason": "because of 2",
        "op_id": "2",
        "changes": [
            {"field": "route/a", "previous": 1, "deleted": True, "sha256": ""},
            {"field": "route/ä", "previous": 0, "deleted": False, "sha256": sha256(b"{}").hexdigest()},
        ],
    }
    assert oldest["revision"] == 1
    assert len(await documents.audit(limit=1)) == 1


async def test_nonsense_written_by_hand_harms_nothing_else(documents: Documents, redis: Redis) -> None:
    await _commit(documents, Change("route/a", {"n": 1}, 0), Change("route/b", {}, 0), op_id="1")
    await ask(redis, "HSET", keys.DOCUMENTS, "route/a", b"{\xff nonsense")
    broken = await documents.get("route/a")
    assert broken is not None
    assert broken.doc is None
    assert "not a document of Turnout" in broken.reason
    assert (await documents.all("route/"))["route/b"].doc == {}
    await _commit(documents, Change("route/a", {"n": 2}, 1), op_id="2")
    assert (await documents.all("route/"))["route/a"].doc == {"n": 2}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "half a \ud800 character"])
async def test_what_json_cannot_carry_is_refused(documents: Documents, value: object) -> None:
    with pytest.raises(CallerError) as raised:
        await _commit(documents, Change("route/a", {"value": value}, 0), op_id="1")
    assert raised.value.code == "invalid_document"
    assert (await documents.follow(0)).revision == 0


async def test_a_commit_of_nothing_or_of_one_document_twice_is_refused(documents: Documents) -> None:
    with pytest.raises(CallerError):
        await _commit(documents, op_id="1")
    with pytest.raises(CallerError):
        await _commit(documents, Change("route/a", {}, 0), Change("route/a", {}, 0), op_id="2")


async def test_a_document_is_found_as_it_was_at_a_revision(documents: Documents) -> None:
    for number in range(1, 2 * HISTORY_AT_ONCE + 2):
        await _commit(documents, Change("route/b", {}, None), op_id=f"b{number}")
        doc = None if number == 2 else {"n": number}
        await _commit(documents, Change("route/a", doc, None), op_id=f"a{number}")
    found = [await documents.at("route/a", revision) for revision in (2, 3, 4, 5, 99)]
    assert [(one.revision, one.doc) for one in found if one] == [
        (2, {"n": 1}), (2, {"n": 1}), (4, None), (4, None), (2 * number, {"n": number}),
    ]  # fmt: skip
    assert await documents.at("route/a", 1) is None
    assert await documents.at("route/c", 1) is None


async def test_a_history_keeps_its_newest_thousand(documents: Documents, redis: Redis) -> None:
    filler = [b"old"] * 999
    await redis.rpush(keys.history("route/a"), *filler)
    for number in range(3):
        await _commit(documents, Change("route/a", {"n": number}, None), op_id=str(number))
    assert await redis.llen(keys.history("route/a")) == 1000
    assert (await documents.history("route/a", limit=1))[0].doc == {"n": 2}


async def test_a_commit_says_whether_the_disk_has_it(
    documents: Documents, server_program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_FOR_DISK_MS", 1000 * int(PATIENCE_S))  # on a busy one, too
    committed = await _commit(documents, Change("route/a", {}, 0), op_id="1")
    assert committed.is_durable is (True if server_program.name == "valkey-server" else None)


async def test_acknowledged_commits_survive_kill_9(tmp_path: Path, server_program: Path) -> None:
    server = EmbeddedServer.start(tmp_path / "data", program=server_program)
    acknowledged = []
    client = connect(server.url, name="before", timeout_s=PATIENCE_S)
    for number in range(30):
        change = Change("route/a", {"n": number}, None)
        acknowledged.append((await _commit(Documents(client), change, op_id=str(number))).revision)
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    await client.aclose()
    again = EmbeddedServer.start(server.data_dir, program=server_program)
    client = connect(again.url, name="after", timeout_s=PATIENCE_S)
    store = Documents(client)
    try:
        assert (await store.follow(0)).revision == acknowledged[-1] == 30
        assert [entry.revision for entry in await store.history("route/a")] == acknowledged[::-1]
        repeated = await _commit(store, Change("route/a", {"n": 29}, None), op_id="29")
        assert repeated.revision == 30
    finally:
        await client.aclose()
        again.stop()
