"""A unit's records are erased with all that lies beside them, and nobody else's are."""

import time
from typing import Any

import orjson
import pytest

from gateway.contract import keys
from gateway.contract.record import unit_mark
from gateway.core.evidence.sums import Table, read
from gateway.store.erasure import Erased, Erasure
from gateway.store.predictions import Batch, Predictions
from tests.dataplane.conftest import Turnout
from tests.dataplane.test_recording import feedback, says, written

UNITS = ("ana", "ben")


async def table_of(turnout: Turnout) -> Table:
    minute = int(time.time() // 60)
    return read(await Predictions(turnout.redis).evidence("digits", minute - 2, minute + 1))


@pytest.fixture
async def served(turnout: Turnout) -> Turnout:
    """Version 1 says 7 and its shadow 3, so that every request is a disagreement."""
    await turnout.route(
        sticky={"header": "turnout-unit"},
        shadows=[{"version": "2", "percent": 100}],
        record={"output": "label", "units": True, "bodies": True, "slices": ["x-tenant"]},
    )
    await turnout.worker(says(b"7"))
    await turnout.worker(says(b"3"), version="2")
    await turnout.start()
    return turnout


async def ask_as(turnout: Turnout, unit: str, *, count: int = 3, **headers: str) -> list[str]:
    ids = []
    for _ in range(count):
        status, told, _ = await turnout.infer(turnout_unit=unit, x_tenant=unit, **headers)
        assert status == 200
        ids.append(told["turnout-prediction-id"])
    return ids


async def erase(turnout: Turnout, unit: str | None, ids: tuple[str, ...] = ()) -> Erased:
    mark = None if unit is None else unit_mark("digits", unit.encode())
    return await Erasure(turnout.redis).erase("digits", mark=mark, ids=ids)


async def fields_of(turnout: Turnout) -> dict[Any, Any]:
    return {
        key: await turnout.redis.hkeys(key)
        for key in await turnout.redis.keys(keys.predictions("digits", "*"))
    }


async def test_all_of_one_unit_goes_and_all_of_others_stays(served: Turnout) -> None:
    ana = await ask_as(served, "ana")
    ana += await ask_as(served, "ana", count=1, turnout_prediction_id="order-ana-1")
    ben = await ask_as(served, "ben")
    await written(served, 4 * 7)  # of each prediction: record, slices, mark, the shadow's answer
    for prediction_id in (ana[0], ana[3], ben[0]):
        assert await feedback(served, prediction_id, 3) == (200, "joined")
        assert await feedback(served, prediction_id, 7) == (200, "corrected")
    before = await table_of(served)

    erased = await erase(served, "ana")

    assert (erased.predictions, erased.corrections) == (4, 2)
    predictions = served.process.predictions
    for prediction_id in ana:
        assert (await predictions.find("digits", prediction_id)).records == []
    for prediction_id in ben:
        assert len((await predictions.find("digits", prediction_id)).records) == 2
    assert (await predictions.find("digits", ben[0])).label == 7
    assert await predictions.samples("digits", 10) == []
    told = await predictions.disagreements("digits", "1", "2")
    assert not {item["prediction_id"] for item in told} & set(ana)
    assert {item["prediction_id"] for item in await predictions.corrections("digits", 10)} == {ben[0]}
    kept = await fields_of(served)
    assert keys.predictions("digits", "=order-ana-1").encode() not in kept
    marks = {value for key in kept for value in await served.redis.hvals(key) if len(value) == 8}
    assert marks == {unit_mark("digits", b"ben")}
    after = await table_of(served)
    assert after.roles["p", "1"] == before.roles["p", "1"]  # counts are about nobody


async def test_what_is_repeated_finds_nothing_left_and_a_late_answer_of_a_shadow_goes(
    served: Turnout,
) -> None:
    [first, *_] = await ask_as(served, "ana")
    await written(served, 12)
    assert (await erase(served, "ana")).predictions == 3
    key = next(iter(await served.redis.keys(keys.predictions("digits", "*"))), None)
    assert key is None  # the bucket had nothing else in it
    place = keys.predictions("digits", first[:18].replace("-", ""))
    late = bytes.fromhex(first[19:].replace("-", "")) + b"0"
    await served.redis.hset(place, late, b'["2",1,1,1,"c",3]')
    assert await erase(served, "ana") == Erased(0, 0, 0, 0)
    assert await fields_of(served) == {}


async def test_what_lies_beside_a_record_is_there_before_it(
    served: Turnout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an erasure between the two would find the record, and leave what comes after it."""
    predictions = served.process.predictions
    write, beside = predictions.write, []

    async def watched(model: str, recorder_id: str, batch: Batch) -> None:
        records = [record for _, _, entries in batch.records for _, record in entries]
        if any(record.startswith(b'["2"') for record in records):
            beside.append(await predictions.disagreements("digits", "1", "2"))
        await write(model, recorder_id, batch)

    monkeypatch.setattr(predictions, "write", watched)
    [asked] = await ask_as(served, "ana", count=1)
    await written(served, 4)
    assert [item["prediction_id"] for item in beside[0]] == [asked]


async def test_predictions_go_by_their_ids_where_no_unit_was_kept(served: Turnout) -> None:
    await served.route(record={"output": "label"})
    ids = [(await served.infer())[1]["turnout-prediction-id"] for _ in range(3)]
    await written(served, 3)
    assert (await erase(served, "ana")).predictions == 0
    assert (await erase(served, None, tuple(ids[:2]))).predictions == 2
    assert [len((await served.process.predictions.find("digits", one)).records) for one in ids] == [0, 0, 1]


async def test_a_label_that_waits_goes_with_the_prediction_that_is_named(served: Turnout) -> None:
    assert await feedback(served, "order-9", 7) == (202, "waiting")
    await erase(served, None, ("order-9",))
    assert await served.redis.hlen(keys.waiting("digits")) == 0


async def test_the_unit_itself_is_written_nowhere(served: Turnout) -> None:
    await served.route(sticky={"header": "turnout-unit"}, record={"output": "label", "units": True})
    unit = "a-unit-that-nobody-else-has"
    assert (await served.infer(turnout_unit=unit))[0] == 200
    await written(served, 2)
    assert unit.encode() not in await everything(served)


async def everything(turnout: Turnout) -> bytes:
    """All that Redis holds, as its own copies of each key."""
    return b"".join([await turnout.redis.dump(key) or b"" for key in await turnout.redis.keys("*")])


@pytest.mark.parametrize("record", [{"units": True}, {"units": True, "bodies": True}])
def test_units_are_kept_only_where_the_route_says_what_a_unit_is(record: dict[str, Any]) -> None:
    from pydantic import ValidationError

    from gateway.contract.route import Route

    raw = {"model": "digits", "split": [{"version": "1", "weight": 100}], "record": record}
    with pytest.raises(ValidationError, match="needs `sticky`"):
        Route.model_validate_json(orjson.dumps(raw))
