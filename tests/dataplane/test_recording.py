"""Predictions are recorded by id, shadows under the same id, and labels find them exactly once."""

import asyncio
import time
from typing import Any

import orjson
import pytest

from gateway.contract.record import Kind
from gateway.store.predictions import Predictions
from tests.dataplane.conftest import NUMBER, Turnout, version_document
from tests.scripted import Call
from tests.sockets import PATIENCE_S, eventually


def says(output: bytes) -> Any:
    async def script(call: Call) -> None:
        call.writer.write(call.answer(output=output))

    return script


@pytest.fixture
async def served(turnout: Turnout) -> Turnout:
    """Version 1 says 7; version 2 says 3."""
    await turnout.route()
    await turnout.worker(says(b"7"))
    await turnout.worker(says(b"3"), version="2")
    await turnout.start()
    return turnout


async def evidence(turnout: Turnout) -> dict[str, float]:
    minute = int(time.time() // 60)
    found = await turnout.process.predictions.evidence("digits", minute - 2, minute)
    total: dict[str, float] = {}
    for fields in found.values():
        for field, value in fields.items():
            total[field] = total.get(field, 0) + value
    return total


async def written(turnout: Turnout, count: int) -> None:
    await eventually(lambda: turnout.process.recorder.of("digits").written == count)


async def feedback(turnout: Turnout, prediction_id: str, label: Any) -> tuple[int, str]:
    body = orjson.dumps({"prediction_id": prediction_id, "label": label})
    status, _, answer = await turnout.post("/v2/models/digits/feedback", body)
    return status, answer.get("status", answer.get("error"))


async def test_a_label_scores_the_prediction_once_however_often_it_comes(served: Turnout) -> None:
    prediction_id = (await served.infer())[1]["turnout-prediction-id"]
    await written(served, 1)
    answers = await asyncio.gather(*(feedback(served, prediction_id, 7) for _ in range(20)))
    assert sorted(answers) == [(200, "duplicate")] * 19 + [(200, "joined")]
    sums = await evidence(served)
    assert (sums["p|1|n"], sums["p|1|ok"], sums["p|1|l"], sums["p|1|right"]) == (1, 1, 1, 1)


async def test_a_callers_own_id_is_used(served: Turnout) -> None:
    _, headers, _ = await served.infer(turnout_prediction_id="order-4711")
    assert headers["turnout-prediction-id"] == "order-4711"
    await written(served, 1)
    assert await feedback(served, "order-4711", 3) == (200, "joined")
    assert (await evidence(served)).get("p|1|right", 0) == 0


async def test_a_label_before_its_prediction_is_written_waits_and_is_joined(served: Turnout) -> None:
    assert await feedback(served, "order-1", 7) == (202, "waiting")
    await served.infer(turnout_prediction_id="order-1")
    await written(served, 1)
    assert (await evidence(served))["p|1|right"] == 1
    assert await feedback(served, "order-1", 7) == (200, "duplicate")


async def test_a_corrected_label_replaces_the_first(served: Turnout) -> None:
    prediction_id = (await served.infer())[1]["turnout-prediction-id"]
    await written(served, 1)
    assert await feedback(served, prediction_id, 3) == (200, "joined")
    assert await feedback(served, prediction_id, 7) == (200, "corrected")
    sums = await evidence(served)
    assert (sums["p|1|l"], sums["p|1|right"], sums["p|1|rows"]) == (1, 1, 1)


async def test_unknown_ids_and_labels_of_the_wrong_kind_are_said_so(served: Turnout) -> None:
    old = "01890000-0000-7000-8000-000000000000"
    assert (await feedback(served, old, 7))[0] in (404, 410)
    prediction_id = (await served.infer())[1]["turnout-prediction-id"]
    await written(served, 1)
    assert (await feedback(served, prediction_id, "seven"))[0] == 400
    assert (await feedback(served, prediction_id, [7, 7]))[0] == 400
    assert (await feedback(served, prediction_id, 7)) == (200, "joined")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"label":1}', b'{"prediction_id":"a"}', b'{"prediction_id":"a","label":NaN}',
     b'{"prediction_id":"a","label":1,"reward":1}', b'{"prediction_id":"a","label":1,"x":1}'],
)  # fmt: skip
async def test_feedback_that_cannot_be_understood_is_400(served: Turnout, body: bytes) -> None:
    status, _, answer = await served.post("/v2/models/digits/feedback", body)
    assert status == 400
    assert answer["error"]


async def test_lines_are_answered_line_by_line(served: Turnout) -> None:
    ids = [(await served.infer())[1]["turnout-prediction-id"] for _ in range(3)]
    await written(served, 3)
    lines = [orjson.dumps({"prediction_id": one, "label": 7}) for one in ids]
    lines.insert(1, b"not json")
    head = b"POST /v2/models/digits/feedback HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
    body = b"\n".join(lines)
    from tests.sockets import ask

    status, _, answer = await ask(served.port, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert status == 200
    results = [orjson.loads(line)["status"] for line in answer.splitlines()]
    assert results == ["joined", "invalid", "joined", "joined"]


async def test_a_shadow_answers_nobody_but_is_recorded_and_compared(served: Turnout) -> None:
    await served.route(shadows=[{"version": "2", "percent": 100}])
    ids = []
    for _ in range(5):
        _, headers, _ = await served.infer()
        assert headers["turnout-version"] == "1"
        ids.append(headers["turnout-prediction-id"])
    await written(served, 10)
    for one in ids:
        assert await feedback(served, one, 3) == (200, "joined")
    sums = await evidence(served)
    assert (sums["p|1|n"], sums["s|2|n"], sums["s|2|ok"]) == (5, 5, 5)
    assert (sums["a|1|2|rows"], sums.get("a|1|2|agree", 0)) == (5, 0)
    assert (sums["s|2|right"], sums.get("p|1|right", 0)) == (5, 0)
    assert (sums["d|1|2|rows"], sums["d|1|2|c"]) == (5, 5)


async def test_how_an_answer_came_about_is_recorded(served: Turnout) -> None:
    beta = {"match": [{"header": "x-tenant", "exact": "beta"}], "split": [{"version": "2", "weight": 100}]}
    none = beta | {"match": [{"header": "x-none", "present": True}]}
    await served.route(
        split=[{"version": "1", "weight": 100}],
        sticky={"header": "turnout-unit"},
        rules=[none | {"name": "none"}, beta | {"name": "beta"}],
        shadows=[{"version": "2", "percent": 100}],
    )
    told = {}
    for headers in ({}, {"turnout_unit": "a"}, {"x_tenant": "beta"}, {"turnout_version": "2"}):
        _, reply, _ = await served.infer(**headers)
        told[reply["turnout-prediction-id"]] = reply["turnout-reason"]
    await written(served, 6)  # two of them have a shadow's
    found = [(await served.process.predictions.find("digits", one)).records for one in told]
    assert list(told.values()) == ["weight", "sticky", "rule:beta", "pin"]
    primaries = [(one.reason, one.rule, one.worker, one.attempts) for one, *_ in found]
    assert primaries == [
        ("weight", None, "w0", 1), ("sticky", None, "w0", 1), (None, 1, "w1", 1), ("pin", None, "w1", 1),
    ]  # fmt: skip
    assert [(one.version, one.reason, one.output) for one in found[0][1:]] == [("2", None, 3)]


async def test_the_worker_that_answered_at_last_is_recorded_with_the_attempts(turnout: Turnout) -> None:
    async def reset(call: Call) -> None:
        call.reset()

    async def says_nothing(call: Call) -> None:
        call.writer.write(call.answer(output=None))

    await turnout.route(retry={"attempts": 2, "budget_percent": 100}, fallback="1")
    await turnout.worker(reset)
    await turnout.worker(says_nothing)
    await turnout.start()
    ids = [(await turnout.infer())[1]["turnout-prediction-id"] for _ in range(20)]
    await written(turnout, 20)
    found = [(await turnout.process.predictions.find("digits", one)).records[0] for one in ids]
    assert {(one.worker, one.attempts) for one in found} == {("w1", 1), ("w1", 2)}
    await turnout.route(split=[{"version": "3", "weight": 100}], fallback="1")
    last = (await turnout.infer())[1]["turnout-prediction-id"]
    await written(turnout, 21)
    [one] = (await turnout.process.predictions.find("digits", last)).records
    assert (one.version, one.reason, one.kind, one.output) == ("1", "fallback", Kind.NONE, None)


async def test_a_shadow_that_hangs_delays_nothing_and_fails_by_itself(served: Turnout) -> None:
    async def hang(call: Call) -> None:
        await eventually(call.writer.transport.is_closing, within_s=60)

    served.workers[1].script = hang
    await served.route(shadows=[{"version": "2", "percent": 100}], timeout_s=1.0)
    shadow = served.process.tallies.of("digits", "2", "s")
    for number in range(20):
        assert (await served.infer())[0] == 200
        assert sum(shadow.errors.values()) <= number  # its own shadow is not over yet
    await eventually(lambda: shadow.errors["deadline"] == 20)
    assert shadow.asked == shadow.answered + sum(shadow.errors.values())


async def test_copies_beyond_the_bound_are_dropped_and_counted(served: Turnout) -> None:
    async def hang(call: Call) -> None:
        await eventually(call.writer.transport.is_closing, within_s=60)

    served.workers[1].script = hang
    await served.route(shadows=[{"version": "2", "percent": 100}])
    served.process.shadower.most_on_wire = 2
    served.process.shadower.most_waiting = 3
    for _ in range(10):
        assert (await served.infer())[0] == 200
    dropped = served.process.tallies.shadow_dropped["digits", "2", "queue_full"]
    assert dropped == 5


async def test_numbers_are_scored_by_their_error(served: Turnout) -> None:
    documents = {f"version/digits/{v}": version_document("digits", v, NUMBER) for v in "12"}
    committed = await served.commit(documents)
    await served.serves(committed.revision)
    served.workers[0].script = says(b"7.5")
    await served.route(shadows=[{"version": "2", "percent": 100}])
    await served.serves((await served.commit(documents)).revision)
    served.workers[1].script = says(b"7.55")
    prediction_id = (await served.infer())[1]["turnout-prediction-id"]
    await written(served, 2)
    assert await feedback(served, prediction_id, 8) == (200, "joined")
    sums = await evidence(served)
    assert sums["p|1|ae"] == pytest.approx(0.5)
    assert sums["s|2|se"] == pytest.approx(0.45**2)
    assert sums["a|1|2|agree"] == 1


async def test_a_reward_is_kept_as_a_mean(served: Turnout) -> None:
    prediction_id = (await served.infer())[1]["turnout-prediction-id"]
    await written(served, 1)
    body = orjson.dumps({"prediction_id": prediction_id, "reward": 0.25})
    assert (await served.post("/v2/models/digits/feedback", body))[2]["status"] == "joined"
    sums = await evidence(served)
    assert (sums["p|1|rw"], sums["p|1|rwn"]) == (0.25, 1)


async def test_more_predictions_than_the_bound_are_dropped_and_counted(served: Turnout) -> None:
    recorder = served.process.recorder.of("digits")
    recorder.bound = 0
    assert (await served.infer())[0] == 200
    assert recorder.dropped == 1


async def test_the_units_that_a_counted_version_answered_are_known_each_once(turnout: Turnout) -> None:
    counting = {"rollout_id": "r1", "version": "2"}
    split = [{"version": "1", "weight": 50}, {"version": "2", "weight": 50}]
    await turnout.route(split=split, sticky={"header": "turnout-unit"}, counting=counting)
    await turnout.worker(version="1")
    await turnout.worker(version="2")
    await turnout.start()
    await turnout.has_workers(1)
    await turnout.has_workers(1, version="2")
    answered = set()
    for number in [*range(60), *range(60)]:
        _, head, _ = await turnout.infer(turnout_unit=f"u{number}")
        if head["turnout-version"] == "2":
            answered.add(number)
    await turnout.infer()  # of no unit
    predictions = Predictions(turnout.redis)
    async with asyncio.timeout(PATIENCE_S):
        while await predictions.units("digits", "r1", "2") < len(answered):
            await asyncio.sleep(0.01)
    assert await predictions.units("digits", "r1", "2") == len(answered)
    assert await predictions.units("digits", "r1", "1") == 0
