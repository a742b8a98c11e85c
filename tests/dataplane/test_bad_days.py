"""Workers that die, hang or lie; clients that leave; a Redis that is away: what clients see, what is kept."""

import asyncio
import os
import re
import signal
import time

import pytest

from gateway.contract import keys
from gateway.contract.pool import PRESENT_S
from gateway.store import connection
from gateway.store.embedded import EmbeddedServer
from tests.dataplane.conftest import LONG_S, Turnout
from tests.scripted import Call
from tests.sockets import Raw, eventually


@pytest.fixture
async def served(turnout: Turnout) -> Turnout:
    """Two workers of version 1."""
    await turnout.route()
    for _ in range(2):
        await turnout.worker()
    await turnout.start()
    return turnout


async def reset(call: Call) -> None:
    call.reset()


async def hang(call: Call) -> None:
    await eventually(call.writer.transport.is_closing, within_s=60)


async def garbage(call: Call) -> None:
    call.writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>")


async def overloaded(call: Call) -> None:
    head = b"HTTP/1.1 503 Service Unavailable\r\nturnout-error: overloaded\r\nretry-after: 1\r\n"
    call.writer.write(with_token(call, head, b'{"error":"full"}'))


def with_token(call: Call, head: bytes, body: bytes) -> bytes:
    token = b"turnout-attempt: %b;%b\r\n" % (call.token, b"d" * 12)
    return head + token + b"content-length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("script", [reset, garbage, overloaded])
async def test_a_failed_attempt_is_sent_to_another_worker_of_the_version(
    served: Turnout, script: object
) -> None:
    served.workers[0].script = script  # type: ignore[assignment]
    for _ in range(30):
        assert (await served.infer())[0] == 200
    assert served.process.tallies.retries["digits", "1"] > 0


async def test_the_only_worker_failing_is_502_and_overload_is_passed_on(turnout: Turnout) -> None:
    await turnout.route()
    worker = await turnout.worker(reset)
    await turnout.start()
    status, headers, _ = await turnout.infer()
    assert (status, headers["turnout-error"]) == (502, "bad_upstream")
    worker.script = overloaded
    status, headers, body = await turnout.infer()
    assert (status, headers["turnout-error"], headers["retry-after"]) == (503, "overloaded", "1")
    assert body == {"error": "full"}


async def test_no_more_is_retried_than_the_budget_allows(served: Turnout) -> None:
    await served.route(retry={"attempts": 2, "budget_percent": 0})
    for worker in served.workers:
        worker.script = garbage
    entry = served.process.table.entry("digits")
    assert entry is not None
    entry.budget.tokens = 1
    for _ in range(10):
        assert (await served.infer())[0] == 502
    assert served.process.tallies.retries["digits", "1"] == 1


async def test_20_requests_in_flight_survive_the_death_of_one_of_two_workers(served: Turnout) -> None:
    dying = served.workers[0]
    dying.script = hang

    async def one() -> int:
        return (await served.infer())[0]

    asking = [asyncio.create_task(one()) for _ in range(40)]
    await eventually(lambda: sum(not task.done() for task in asking) <= 20 and len(dying.calls) >= 10)
    await dying.stop()
    assert await asyncio.gather(*asking) == [200] * 40


async def test_a_hung_worker_is_504_at_the_deadline_and_then_left_alone(served: Turnout) -> None:
    await served.route(timeout_s=0.5, retry={"attempts": 1})
    served.workers[0].script = hang
    served.workers[0].is_ready = False
    statuses = []
    for _ in range(40):
        status, _, _ = await served.infer()
        statuses.append(status)
    assert statuses.count(504) == 3
    assert statuses[-20:] == [200] * 20
    pool = served.process.pools.get("digits", "1")
    assert (pool.ejections, pool.in_flight) == (1, 0)


async def test_the_callers_own_deadline_holds_and_the_worker_is_told_what_is_left(served: Turnout) -> None:
    for worker in served.workers:
        worker.script = hang
    started = time.monotonic()
    status, headers, _ = await served.infer(turnout_timeout_ms="150")
    assert (status, headers["turnout-error"]) == (504, "deadline")
    assert time.monotonic() - started > 0.1
    [call, *_] = [call for worker in served.workers for call in worker.calls]
    told = re.search(rb"turnout-timeout-ms: (\d+)\r\n", call.head)
    assert told is not None
    assert 0 < int(told[1]) <= 150


async def test_a_client_that_leaves_frees_its_worker_at_once(served: Turnout) -> None:
    for worker in served.workers:
        worker.script = hang
    raw = await Raw.open(served.port)
    raw.send(b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    pool = served.process.pools.get("digits", "1")
    await eventually(lambda: pool.in_flight == 1)
    raw.reset()
    await eventually(lambda: pool.in_flight == 0)
    assert served.process.tallies.client_gone == 1


async def test_a_workers_own_error_reaches_the_client_as_it_is(served: Turnout) -> None:
    async def refuse(call: Call) -> None:
        call.writer.write(with_token(call, b"HTTP/1.1 400 Bad Request\r\n", b'{"error":"X: wrong shape"}'))

    for worker in served.workers:
        worker.script = refuse
    status, headers, body = await served.infer()
    assert (status, body) == (400, {"error": "X: wrong shape"})
    assert headers["turnout-version"] == "1"


async def test_a_workers_bug_is_502_never_500(served: Turnout) -> None:
    async def bug(call: Call) -> None:
        call.writer.write(with_token(call, b"HTTP/1.1 500 Internal Server Error\r\n", b'{"error":"oops"}'))

    for worker in served.workers:
        worker.script = bug
    assert (await served.infer())[0] == 502


async def test_predictions_go_on_while_redis_is_killed_and_nothing_recorded_is_lost(
    served: Turnout, redis_server: EmbeddedServer
) -> None:
    os.kill(redis_server.pid, signal.SIGKILL)
    redis_server.stop()
    for _ in range(20):
        assert (await served.infer())[0] == 200
    recorder = served.process.recorder.of("digits")
    status, headers, _ = await served.post("/v2/models/digits/feedback", b'{"prediction_id":"a","label":1}')
    assert (status, headers["turnout-error"], headers["retry-after"]) == (503, "store_away", "1")
    back = EmbeddedServer.start(served.data_dir / "redis", program=redis_server.program)
    try:
        await eventually(lambda: recorder.written == 20 and not recorder.waiting)
        minute = int(time.time() // 60)
        evidence = await served.process.predictions.evidence("digits", minute - 5, minute)
        assert sum(fields.get("p|1|n", 0) for fields in evidence.values()) == 20
        committed = await served.route(split=[{"version": "2", "weight": 100}])
        await served.serves(committed.revision)
    finally:
        back.stop()


async def test_a_hung_redis_delays_no_prediction(
    served: Turnout, redis_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited for Redis would wait longer than a prediction is waited for here."""
    monkeypatch.setattr(connection, "TIMEOUT_S", LONG_S)
    await served.stop()
    await served.start()
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        until = time.monotonic() + PRESENT_S + 2  # leases would have ended by now
        while time.monotonic() < until:
            assert (await served.infer())[0] == 200
            await asyncio.sleep(0.02)
        assert served.process.follower.age_s > PRESENT_S
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    await eventually(lambda: served.process.follower.age_s < 1.5)


async def test_a_gateway_that_starts_without_redis_serves_what_the_disk_remembers(
    served: Turnout, redis_server: EmbeddedServer
) -> None:
    await served.has_workers(2)
    await eventually(lambda: (served.data_dir / "gateway-last-good.json").exists())
    await served.stop()
    os.kill(redis_server.pid, signal.SIGKILL)
    redis_server.stop()
    await served.start()
    assert (await served.infer())[0] == 200
    assert (await served.get("/v2/health/ready"))[0] == 200


async def test_a_worker_that_left_while_the_gateway_was_down_is_not_asked(served: Turnout) -> None:
    await served.has_workers(2)
    await eventually(lambda: (served.data_dir / "gateway-last-good.json").exists())
    await served.stop()
    left = served.workers.pop(0)
    await left.stop()
    await served.redis.hdel(keys.WORKERS, left.name)
    await served.start()
    assert {worker.worker_id for worker in served.process.pools.get("digits", "1").ready} == {"w1"}


async def test_without_redis_and_without_memory_a_gateway_is_live_but_not_ready(
    turnout: Turnout, redis_server: EmbeddedServer
) -> None:
    os.kill(redis_server.pid, signal.SIGKILL)
    redis_server.stop()
    await turnout.start()
    assert (await turnout.get("/v2/health/live"))[0] == 200
    status, headers, _ = await turnout.get("/v2/health/ready")
    assert (status, headers["turnout-error"]) == (503, "no_table")


async def test_a_redis_that_lost_its_data_is_reported_and_not_followed(served: Turnout) -> None:
    await served.redis.flushall()
    await eventually(lambda: served.process.follower.is_table_lost)
    assert (await served.infer())[0] == 200


async def test_nonsense_written_behind_the_commit_keeps_the_last_good_form(served: Turnout) -> None:
    served.process.follower.reread_at = 0.0
    await served.redis.hset("{turnout}:documents", "route/digits", "{ nonsense")
    await eventually(lambda: served.process.table.snapshot.problems)
    assert (await served.infer())[0] == 200
    committed = await served.route(split=[{"version": "1", "weight": 100}], timeout_s=1)
    await served.serves(committed.revision)
    assert not served.process.table.snapshot.problems
