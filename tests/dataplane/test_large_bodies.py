"""Large tensors through a whole gateway: as they were, within its memory, and never at the workers' cost."""

import asyncio
import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gateway.observe.state import to_json
from tests.dataplane.conftest import Turnout
from tests.scripted import Call, usual
from tests.sockets import Raw, eventually

MIB = 1024 * 1024
PATH = "/v2/models/digits/infer"
BODY = bytes(range(256)) * (4 * 1024)


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def request(body: bytes) -> bytes:
    return f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def small(turnout: Turnout, *, mib: int, wait_s: float = 5.0) -> None:
    turnout.settings = replace(turnout.settings, body_memory_bytes=mib * MIB, body_wait_s=wait_s)
    await turnout.route()
    await turnout.start()


async def all_given_back(turnout: Turnout) -> None:
    process = turnout.process
    await eventually(lambda: (process.requests.used_bytes, process.replies.used_bytes) == (0, 0))


async def large_reply(call: Call) -> None:
    call.writer.write(call.answer(BODY * 3))


async def chunked_reply(call: Call) -> None:
    head = call.answer().partition(b"content-length")[0]
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(BODY), BODY) for _ in range(3))
    call.writer.write(head + b"transfer-encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n")


@pytest.mark.parametrize("script", [large_reply, chunked_reply])
async def test_large_requests_and_replies_pass_unchanged(turnout: Turnout, script: object) -> None:
    await small(turnout, mib=64)
    worker = await turnout.worker(script)  # type: ignore[arg-type]
    await turnout.has_workers(1)
    raw = await Raw.open(turnout.port)
    for _ in range(3):
        raw.send(request(BODY * 16))
        status, headers, body = await raw.reply()
        assert (status, headers["turnout-version"]) == (200, "1")
        assert body == BODY * 3
        assert worker.calls.pop().body == BODY * 16
    assert worker.connections == 1
    raw.close()
    await all_given_back(turnout)


async def test_a_large_request_is_repeated_at_another_worker_whole(turnout: Turnout) -> None:
    async def breaks(call: Call) -> None:
        call.reset()

    await small(turnout, mib=64)
    first, second = await turnout.worker(breaks), await turnout.worker()
    await turnout.has_workers(2)
    answered = [await turnout.post(PATH, BODY * 4) for _ in range(6)]
    assert [status for status, _, _ in answered] == [200] * 6
    assert first.calls
    assert all(call.body == BODY * 4 for call in second.calls)
    await all_given_back(turnout)


async def test_a_shadow_copy_counts_until_its_answer(turnout: Turnout) -> None:
    answer = asyncio.Event()

    async def late(call: Call) -> None:
        await answer.wait()
        await usual(call)

    await small(turnout, mib=64)
    await turnout.route(shadows=[{"version": "2", "percent": 100}])
    await turnout.worker()
    shadow = await turnout.worker(late, version="2")
    await turnout.has_workers(1)
    await turnout.has_workers(1, version="2")
    assert (await turnout.post(PATH, BODY * 2))[0] == 200
    await eventually(lambda: shadow.calls)
    assert turnout.process.requests.used_bytes == 2 * MIB
    answer.set()
    await all_given_back(turnout)


async def test_a_request_given_up_at_its_deadline_gives_its_memory_back(turnout: Turnout) -> None:
    async def never(call: Call) -> None:
        await asyncio.Event().wait()

    await small(turnout, mib=64)
    await turnout.worker(never)
    await turnout.has_workers(1)
    assert (await turnout.post(PATH, BODY * 2, turnout_timeout_ms="50"))[0] == 504
    raw = await Raw.open(turnout.port)
    raw.send(request(BODY * 2))
    await eventually(lambda: turnout.process.lane.in_flight)
    raw.reset()
    await all_given_back(turnout)


async def test_a_large_reply_without_room_in_time_is_refused_and_its_worker_is_not_to_blame(
    turnout: Turnout,
) -> None:
    await small(turnout, mib=16, wait_s=0.1)
    await turnout.worker(large_reply)
    await turnout.has_workers(1)
    held = turnout.process.replies.take(7 * MIB, 0)
    status, headers, _ = await turnout.infer()
    assert (status, headers["turnout-error"], headers["retry-after"]) == (503, "overloaded", "1")
    assert turnout.process.pools.get("digits", "1").ready[0].failures == 0
    text = to_json("0", turnout.process.metrics()).decode()
    assert "turnout_body_bytes" in text
    assert "turnout_body_refused_total" in text
    del held
    raw = await Raw.open(turnout.port)
    raw.send(request(b"{}"))
    assert (await raw.reply())[2] == BODY * 3
    raw.close()
    await all_given_back(turnout)


async def test_a_large_reply_waits_for_its_room(turnout: Turnout) -> None:
    await small(turnout, mib=16)
    await turnout.worker(large_reply)
    await turnout.has_workers(1)
    held = turnout.process.replies.take(7 * MIB, 0)
    raw = await Raw.open(turnout.port)
    raw.send(request(b"{}"))
    await eventually(lambda: turnout.process.replies.line)
    del held
    assert (await raw.reply())[2] == BODY * 3
    raw.close()
    await all_given_back(turnout)
