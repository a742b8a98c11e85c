"""A gateway ends at the newest revision whatever comes how fast, and never shows a part of a commit."""

import asyncio
import time
from typing import Any

import pytest

from gateway.dataplane import lastgood
from gateway.dataplane.follower import ROUND_S
from gateway.store import documents
from tests.dataplane.conftest import LABEL, Turnout, version_document
from tests.sockets import eventually


def route(model: str, weight: int) -> dict[str, Any]:
    split = [{"version": "1", "weight": weight}, {"version": "2", "weight": 100 - weight}]
    return {"model": model, "split": split}


def weight(turnout: Turnout, model: str) -> float:
    entry = turnout.process.table.entry(model)
    assert entry is not None
    return entry.compiled.route.split[0].weight


async def longest_turn_s(until: asyncio.Event) -> float:
    """CPU time of the loop between two looks: what others take on this machine is not its fault."""
    worst = 0.0
    while not until.is_set():
        before = time.thread_time()
        await asyncio.sleep(0.002)
        worst = max(worst, time.thread_time() - before)
    return worst


async def test_of_a_storm_of_commits_the_newest_wins_and_few_rounds_are_needed(turnout: Turnout) -> None:
    await turnout.commit({f"route/m{number}": route(f"m{number}", 50) for number in range(50)})
    await turnout.start()
    ended = asyncio.Event()
    turns = asyncio.create_task(longest_turn_s(ended))
    rounds, started = turnout.process.follower.rounds, time.monotonic()
    numbers = iter(range(600))

    async def throw() -> None:
        for number in numbers:
            await turnout.commit({f"route/m{number % 50}": route(f"m{number % 50}", number % 100)})

    await asyncio.gather(*(throw() for _ in range(6)))
    newest = (await turnout.documents.page(2**53)).revision
    await turnout.serves(newest)
    took_s = time.monotonic() - started
    ended.set()
    assert turnout.process.table.snapshot.revision == newest == 601
    for number in range(50):
        stored = await turnout.documents.get(f"route/m{number}")
        assert stored is not None
        assert stored.doc == route(f"m{number}", int(weight(turnout, f"m{number}")))
    assert turnout.process.follower.rounds - rounds <= took_s / ROUND_S + 2
    assert await turns < 0.5


async def test_hints_that_come_while_a_round_lasts_cause_one_more_round(turnout: Turnout) -> None:
    await turnout.start()
    follower = turnout.process.follower
    await eventually(lambda: turnout.process.watch.is_listening)
    await eventually(lambda: not follower.woken.is_set())
    before = follower.rounds
    for _ in range(1000):
        follower.hint(b"commit 1")
    await eventually(lambda: follower.rounds > before)
    await eventually(lambda: not follower.woken.is_set())
    assert follower.rounds - before <= 3


async def test_what_is_read_in_pages_is_served_at_once(
    turnout: Turnout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`a` is part of every commit, so no other route may ever be ahead of it."""
    monkeypatch.setattr(documents, "PAGE_DOCUMENTS", 1)
    await turnout.start()
    table, seen = turnout.process.table, []
    switch = table.switch

    def watched(snapshot: Any) -> None:
        switch(snapshot)
        revisions = {name: route.revision for name, route in snapshot.routes.items()}
        if revisions:
            seen.append((revisions["a"], max(revisions.values())))

    monkeypatch.setattr(table, "switch", watched)
    for number in range(40):
        other = "bcdef"[number % 5]
        await turnout.commit({"route/a": route("a", number), f"route/{other}": route(other, number)})
    await turnout.serves(40)
    assert seen
    assert all(of_a == newest for of_a, newest in seen)


async def test_a_gateway_that_is_far_behind_catches_up_in_pages(
    turnout: Turnout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "PAGE_DOCUMENTS", 7)
    for number in range(40):
        await turnout.commit({f"route/m{number}": route(f"m{number}", number)})
    await turnout.commit({"route/m3": None})
    await turnout.start()
    assert len(turnout.process.table.snapshot.routes) == 39
    assert turnout.process.table.snapshot.revision == 41


async def test_what_was_edited_behind_the_commit_is_found_page_by_page(
    turnout: Turnout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "PAGE_DOCUMENTS", 2)
    monkeypatch.setattr("gateway.dataplane.follower.REREAD_S", 0.0)
    monkeypatch.setattr("gateway.dataplane.follower.POLL_S", 0.01)
    for number in range(6):
        await turnout.commit({f"route/m{number}": route(f"m{number}", 50)})
    await turnout.start()
    await turnout.redis.hset("{turnout}:documents", "route/m5", "{ nonsense")
    await turnout.redis.hdel("{turnout}:documents", "route/m0")
    snapshot = turnout.process.table
    await eventually(lambda: set(snapshot.snapshot.problems) == {"route/m5"})
    await eventually(lambda: "m0" not in snapshot.snapshot.routes)
    assert weight(turnout, "m5") == 50


async def test_the_disk_remembers_the_last_commit_of_a_process_that_ended(turnout: Turnout) -> None:
    await turnout.commit({"version/m/1": version_document("m", "1", LABEL), "route/m": route("m", 1)})
    await turnout.start()
    path = turnout.process.follower.path
    await eventually(path.exists)
    for number in range(2, 12):
        await turnout.commit({"route/m": route("m", number)})
    await turnout.serves((await turnout.commit({"route/gone": route("gone", 5)})).revision)
    committed = await turnout.commit({"route/gone": None})  # what came and went in one round changes no file
    await turnout.serves(committed.revision)
    await turnout.stop()
    last = lastgood.load(path)
    assert last is not None
    assert last.revision == committed.revision
    assert set(last.documents) == {"version/m/1", "route/m"}
    assert b'"weight":11' in last.documents["route/m"]
    assert not list(path.parent.glob("*.new"))
    await turnout.start()


async def test_a_last_good_file_of_nonsense_is_no_file(turnout: Turnout) -> None:
    path = turnout.data_dir / "gateway-last-good.json"
    for nonsense in (b"", b"\n", b"nonsense", b'{"format":9,"revision":1,"leases":[]}', b'{"revision":1}'):
        path.write_bytes(nonsense)
        assert lastgood.load(path) is None
