"""Overload, slow and fresh workers, hedges: what the gateway does before a version drowns."""

import asyncio
import socket
import time
from collections import Counter
from typing import Any

import pytest

from gateway.contract.evidence import PRIMARY
from gateway.core.balance import RAMP_FROM
from gateway.dataplane.exchange import Exchange
from gateway.upstream import pool as pool_module
from tests.dataplane.conftest import Turnout
from tests.scripted import Call, Script, usual
from tests.sockets import PATIENCE_S, Raw, eventually

TCP_CLOSED = (7, 8)  # CLOSE, CLOSE_WAIT of tcp(7)'s tcpi_state
REQUEST = b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


class Held:
    """A script that answers only when it is told to."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.released = asyncio.Event()

    async def __call__(self, call: Call) -> None:
        self.calls.append(call)
        await self.released.wait()
        call.writer.write(call.answer())


def after(seconds: float) -> Script:
    async def script(call: Call) -> None:
        await asyncio.sleep(seconds)
        call.writer.write(call.answer())

    return script


async def one_place(turnout: Turnout, **concurrency: object) -> Held:
    """A version with one worker that takes one request at a time; the first request is at it."""
    held = Held()
    await turnout.route(concurrency={"per_worker": 1, **concurrency})
    await turnout.worker(held)
    await turnout.start()
    return held


async def test_a_request_beyond_the_limit_waits_for_its_place(turnout: Turnout) -> None:
    held = await one_place(turnout, queue_ms=5000)
    asked = [asyncio.create_task(turnout.infer()) for _ in range(4)]
    await eventually(lambda: len(turnout.process.lane.in_flight) == 4)
    await eventually(lambda: held.calls)
    assert len(held.calls) == 1
    held.released.set()
    assert [status for status, _, _ in await asyncio.gather(*asked)] == [200] * 4
    assert turnout.process.pools.get("digits", "1").admission.active == 0


async def test_a_full_queue_is_refused_at_once_with_retry_after(turnout: Turnout) -> None:
    held = await one_place(turnout, queue=1, queue_ms=5000)
    waiting = [asyncio.create_task(turnout.infer()) for _ in range(2)]
    await eventually(lambda: len(turnout.process.lane.in_flight) == 2)
    status, headers, _ = await turnout.infer()
    assert (status, headers["turnout-error"], headers["retry-after"]) == (503, "overloaded", "1")
    held.released.set()
    assert [status for status, _, _ in await asyncio.gather(*waiting)] == [200, 200]


async def test_one_that_waited_too_long_is_refused_and_never_sent(turnout: Turnout) -> None:
    held = await one_place(turnout, queue_ms=50)
    first = asyncio.create_task(turnout.infer())
    await eventually(lambda: held.calls)
    status, headers, _ = await turnout.infer()
    assert (status, headers["turnout-error"]) == (503, "overloaded")
    held.released.set()
    assert (await first)[0] == 200
    assert len(held.calls) == 1


async def test_a_deadline_that_passes_in_the_queue_is_answered_and_blames_no_worker(turnout: Turnout) -> None:
    held = await one_place(turnout, queue_ms=60_000)
    first = asyncio.create_task(turnout.infer())
    await eventually(lambda: held.calls)
    status, headers, _ = await turnout.infer(turnout_timeout_ms="40")
    assert (status, headers["turnout-error"]) in ((504, "deadline"), (503, "overloaded"))
    [worker] = turnout.process.pools.get("digits", "1").workers.values()
    assert worker.failures == 0
    held.released.set()
    assert (await first)[0] == 200
    assert len(held.calls) == 1


async def test_one_whose_turn_comes_after_its_deadline_is_not_sent(turnout: Turnout) -> None:
    held = await one_place(turnout, queue_ms=60_000)
    first = asyncio.create_task(turnout.infer())
    second = asyncio.create_task(turnout.infer())
    admission = turnout.process.pools.get("digits", "1").admission
    await eventually(lambda: held.calls and admission.waiting)
    exchanges = [one for one in turnout.process.lane.in_flight if isinstance(one, Exchange)]
    [late] = [exchange for exchange in exchanges if not exchange.has_place]
    late.deadline = 0.0
    admission.set_most(2)  # its turn, before anybody looked at deadlines
    status, headers, _ = await second
    assert (status, headers["turnout-error"]) == (504, "deadline")
    held.released.set()
    assert (await first)[0] == 200
    assert len(held.calls) == 1
    assert admission.active == 0


async def test_two_deadlines_that_pass_together_are_answered_once_each(turnout: Turnout) -> None:
    held = await one_place(turnout, queue_ms=60_000)
    first, second = [await Raw.open(turnout.port) for _ in range(2)]
    first.send(REQUEST)
    await eventually(lambda: held.calls)
    second.send(REQUEST)
    lane = turnout.process.lane
    await eventually(lambda: len(lane.in_flight) == 2)
    for exchange in lane.in_flight:  # the place of the one that is ended first is given to the other
        exchange.deadline = 0.0
    for raw in (first, second):
        status, headers, _ = await raw.reply()
        assert (status, headers["turnout-error"]) == (504, "deadline")
    second.send(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await second.end()).count(b"HTTP/1.1 ") == 1
    tally = turnout.process.recorder.tallies.of("digits", "1", PRIMARY)
    assert tally.errors["deadline"] == tally.asked == 2
    first.close()


async def test_a_client_that_leaves_the_queue_is_never_sent(turnout: Turnout) -> None:
    held = await one_place(turnout, queue_ms=5000)
    first = asyncio.create_task(turnout.infer())
    await eventually(lambda: held.calls)
    raw = await Raw.open(turnout.port)
    raw.send(REQUEST)
    await eventually(lambda: len(turnout.process.lane.in_flight) == 2)
    raw.reset()
    await eventually(lambda: len(turnout.process.lane.in_flight) == 1)
    held.released.set()
    assert (await first)[0] == 200
    assert (await turnout.infer())[0] == 200
    assert len(held.calls) == 2
    assert turnout.process.pools.get("digits", "1").admission.active == 0


async def test_copies_for_shadows_give_way_to_requests(turnout: Turnout) -> None:
    """A version that answers and shadows: copies take at most half of its places."""
    held = Held()
    await turnout.route(shadows=[{"version": "2"}], concurrency={"per_worker": 4})
    await turnout.worker()
    await turnout.worker(held, version="2")
    await turnout.start()
    for _ in range(10):
        assert (await turnout.infer())[0] == 200
    admission = turnout.process.pools.get("digits", "2").admission
    await eventually(lambda: admission.active == 2)
    assert turnout.process.shadower.waiting == 8
    pinned = asyncio.create_task(turnout.infer(turnout_version="2"))
    await eventually(lambda: admission.active == 3)
    held.released.set()
    assert (await pinned)[0] == 200
    await eventually(lambda: turnout.process.tallies.of("digits", "2", "s").answered == 10)
    assert admission.active == 0


# -- slow and fresh workers ------------------------------------------------------------------------------


async def ask_many(turnout: Turnout, count: int, *, at_once: int = 8) -> list[float]:
    """Seconds that each of `count` requests took; every one is answered with 200."""
    took: list[float] = []

    async def client() -> None:
        raw = await Raw.open(turnout.port)
        while len(took) < count:
            started = time.perf_counter()
            raw.send(REQUEST)
            assert (await raw.reply())[0] == 200
            took.append(time.perf_counter() - started)
        raw.close()

    await asyncio.gather(*(client() for _ in range(at_once)))
    return took


async def test_a_slow_worker_loses_its_share_by_itself_and_gets_it_back(turnout: Turnout) -> None:
    await turnout.route()
    slow, *_ = [await turnout.worker(after(0.002)) for _ in range(3)]
    await turnout.start()
    slow.script = after(0.1)  # far above what a busy machine adds to the others
    await ask_many(turnout, 600)
    before = Counter({worker.name: len(worker.calls) for worker in turnout.workers})
    await ask_many(turnout, 600)
    share = (len(slow.calls) - before[slow.name]) / 600
    assert share < 0.03
    slow.script = after(0.002)
    pool = turnout.process.pools.get("digits", "1")
    async with asyncio.timeout(2 * PATIENCE_S):  # until it was seen to have recovered
        while pool.upto is not None:
            await ask_many(turnout, 200)


async def test_a_fresh_worker_begins_with_a_small_share(
    turnout: Turnout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pool_module, "paces", lambda latencies_us: [1.0] * len(latencies_us)
    )  # age alone counts
    await turnout.route()
    await turnout.worker()
    turnout.settings = turnout.settings.__class__(
        redis_url=turnout.url, data_dir=turnout.data_dir, flush_s=0.02, slow_start_s=86_400.0
    )
    await turnout.start()
    await turnout.has_workers(1)
    fresh = await turnout.worker()
    await turnout.has_workers(2)
    await ask_many(turnout, 500, at_once=1)
    assert 0 < len(fresh.calls) / 500 < 2 * RAMP_FROM


# -- hedges ----------------------------------------------------------------------------------------------


async def hedged(turnout: Turnout, *scripts: Script, after_ms: float = 20, **parts: Any) -> None:
    await turnout.route(hedge={"after_ms": after_ms}, **parts)
    for script in scripts:
        await turnout.worker(script)
    await turnout.start()


def was_closed(call: Call) -> bool:
    """Whether the gateway closed the connection: a FIN came (or it is gone)."""
    sock = call.writer.get_extra_info("socket")
    return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in TCP_CLOSED)


async def test_the_second_attempt_wins_where_the_first_hangs_and_the_first_is_given_up(
    turnout: Turnout,
) -> None:
    noticed: list[Call] = []

    async def hang(call: Call) -> None:
        await eventually(lambda: was_closed(call))
        noticed.append(call)

    await hedged(turnout, hang, usual)
    for _ in range(20):
        assert (await turnout.infer())[0] == 200
    hung = turnout.workers[0]
    await eventually(lambda: len(noticed) == len(hung.calls))
    assert turnout.process.tallies.hedges["digits", "1"] >= len(hung.calls) > 0
    pool = turnout.process.pools.get("digits", "1")
    await eventually(lambda: pool.in_flight == 0)
    assert pool.admission.active == 0
    assert not pool.ejections, "slow is not broken"


async def test_a_prompt_answer_is_never_hedged(turnout: Turnout) -> None:
    await hedged(turnout, usual, usual, after_ms=1000 * PATIENCE_S)
    for _ in range(30):
        assert (await turnout.infer())[0] == 200
    assert sum(len(worker.calls) for worker in turnout.workers) == 30


async def test_the_first_answer_wins_when_it_comes_before_the_second(turnout: Turnout) -> None:
    calls: list[Call] = []

    async def once_both_are_asked(call: Call) -> None:
        calls.append(call)
        if len(calls) % 2 == 0:
            for one in calls[-2:]:
                one.writer.write(one.answer())

    await hedged(turnout, once_both_are_asked, once_both_are_asked, after_ms=20)
    for _ in range(5):
        assert (await turnout.infer())[0] == 200
    assert turnout.process.tallies.hedges["digits", "1"] == 5
    assert turnout.process.tallies.of("digits", "1", "p").answered == 5
    await eventually(lambda: turnout.process.pools.get("digits", "1").in_flight == 0)


async def test_a_failure_of_one_attempt_waits_for_the_other(turnout: Turnout) -> None:
    async def reset_late(call: Call) -> None:
        await asyncio.sleep(0.05)
        call.reset()

    await hedged(turnout, reset_late, after(0.1))
    for _ in range(10):
        assert (await turnout.infer())[0] == 200


async def test_both_attempts_failing_is_one_502(turnout: Turnout) -> None:
    async def reset_late(call: Call) -> None:
        await asyncio.sleep(0.05)
        call.reset()

    await hedged(turnout, reset_late, reset_late)
    status, headers, _ = await turnout.infer()
    assert (status, headers["turnout-error"]) == (502, "bad_upstream")
    assert turnout.process.pools.get("digits", "1").admission.active == 0


@pytest.mark.parametrize("parts", [{"retry": {"attempts": 1}}, {"retry": {"budget_percent": 0}}])
async def test_hedges_keep_to_the_attempts_and_the_budget_of_the_route(
    turnout: Turnout, parts: dict[str, Any]
) -> None:
    await hedged(turnout, after(0.08), after(0.08), **parts)
    entry = turnout.process.table.entry("digits")
    assert entry is not None
    entry.budget.tokens = 0
    assert (await turnout.infer())[0] == 200
    assert not turnout.process.tallies.hedges


async def test_a_hedged_deadline_frees_both_workers(turnout: Turnout) -> None:
    held = Held()
    await hedged(turnout, held, held)
    asked = asyncio.create_task(turnout.infer())
    await eventually(lambda: len(held.calls) == 2)
    for exchange in turnout.process.lane.in_flight:
        exchange.deadline = 0.0
    status, headers, _ = await asked
    assert (status, headers["turnout-error"]) == (504, "deadline")
    await eventually(lambda: turnout.process.pools.get("digits", "1").in_flight == 0)
    assert len(held.calls) == 2
    held.released.set()
