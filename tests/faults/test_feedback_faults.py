"""Labels count exactly once, although gateways die in the middle of them and callers send them again."""

import asyncio
import os
import signal
import time

import orjson

from gateway.dataplane.recorder import Recorder
from gateway.dataplane.tally import Tallies
from gateway.store.predictions import Predictions
from tests.dataplane.conftest import Turnout
from tests.faults.conftest import StartGateway
from tests.sockets import ask
from tests.store.samples import total

LABELS = 4000
AT_ONCE = 100  # labels in one request


async def recorded(turnout: Turnout) -> list[str]:
    """Predictions of version 1 that all said 7."""
    recorder, at_s = Recorder("before", Tallies(), bound=LABELS), int(time.time())
    ids = []
    for _ in range(LABELS):
        prediction_id, bucket, field = recorder.of("digits").new_place(float(at_s))
        recorder.of("digits").add(bucket, field, b'["1",1,%d,1000,"cs/abcdefgh",7]' % at_s)
        ids.append(prediction_id.decode())
    await recorder.flush(Predictions(turnout.redis), everything=True)
    return ids


async def send(port: int, bodies: list[bytes]) -> list[str]:
    """Sends one request after the other until the gateway is gone; what became of each acknowledged label."""
    told: list[str] = []
    for body in bodies:
        head = (
            "POST /v2/models/digits/feedback HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            status, _, answer = await ask(port, head.encode() + body)
            while status == 503:  # Redis was slow, which a busy disk makes it: sent again, as the reply says
                status, _, answer = await ask(port, head.encode() + body)
        except (OSError, EOFError, asyncio.IncompleteReadError):
            break
        assert status == 200
        told += [orjson.loads(line)["status"] for line in answer.splitlines()]
    return told


async def test_labels_count_once_over_a_killed_gateway_a_replay_and_two_gateways(
    turnout: Turnout, start_gateway: StartGateway
) -> None:
    await turnout.route()
    ids = await recorded(turnout)
    lines = [orjson.dumps({"prediction_id": one, "label": at % 10}) for at, one in enumerate(ids)]
    bodies = [b"\n".join(lines[at : at + AT_ONCE]) for at in range(0, LABELS, AT_ONCE)]
    doomed = await start_gateway()
    sending = asyncio.create_task(send(doomed.port, bodies))
    while not (await evidence(turnout)).get("p|1|l"):  # some labels are in Redis
        await asyncio.sleep(0)
    os.kill(doomed.pid, signal.SIGKILL)
    os.kill(doomed.process.pid, signal.SIGKILL)
    acknowledged = await sending
    first, second = await asyncio.gather(start_gateway(), start_gateway())
    both = await asyncio.gather(send(first.port, bodies), send(second.port, bodies[::-1]))
    results = [result for told in both for result in told]
    assert set(results) <= {"joined", "duplicate"}
    assert results.count("joined") + acknowledged.count("joined") <= LABELS
    sums = await evidence(turnout)
    assert (sums["p|1|l"], sums["p|1|right"]) == (LABELS, LABELS / 10)


async def evidence(turnout: Turnout) -> dict[str, float]:
    minute = int(time.time() // 60)
    return total(await Predictions(turnout.redis).evidence("digits", minute - 5, minute + 5))
