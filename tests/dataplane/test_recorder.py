"""Ids are unique and made a few at once; a flush writes what was counted and visits nobody else."""

import time

import pytest

from gateway.contract.record import BUCKET_SIZE, place_of
from gateway.dataplane import recorder as module
from gateway.dataplane.recorder import Recorder
from gateway.dataplane.tally import Tallies
from tests.dataplane.conftest import LABEL, Turnout, version_document
from tests.sockets import eventually


def test_ids_are_unique_and_name_their_bucket() -> None:
    model = Recorder("test", Tallies(), bound=10).of("digits")
    now_s = time.time()
    places = [model.new_place(now_s) for _ in range(3 * BUCKET_SIZE)]
    assert len({prediction_id for prediction_id, _, _ in places}) == len(places)
    assert len({bucket for _, bucket, _ in places}) == 3
    for prediction_id, bucket, field in places:
        assert place_of(prediction_id.decode()) == (bucket, field)


def test_a_model_that_is_seldom_asked_holds_few_ids() -> None:
    model = Recorder("test", Tallies(), bound=10).of("digits")
    model.new_place(time.time())
    assert len(model.bucket.places) < 10


def test_a_bucket_is_closed_when_it_is_old() -> None:
    model = Recorder("test", Tallies(), bound=10).of("digits")
    assert model.new_place(100.0)[1] != model.new_place(111.0)[1]


async def test_errors_without_records_reach_the_evidence_in_turn(
    turnout: Turnout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK", 1)
    models = [f"m{number}" for number in range(5)]
    for name in models:
        split = [{"version": "1", "weight": 100}]
        await turnout.commit(
            {
                f"route/{name}": {"model": name, "split": split},
                f"version/{name}/1": version_document(name, "1", LABEL),
            }
        )
    await turnout.start()
    for _ in range(2):
        for name in models:
            assert (await turnout.post(f"/v2/models/{name}/infer"))[0] == 503
    tallies = turnout.process.tallies.versions
    await eventually(lambda: all(tally.settled == 2 for tally in tallies.values()))
    await eventually(lambda: not turnout.process.recorder.marked)
    minute = int(time.time() // 60)
    for name in models:
        found = await turnout.process.predictions.evidence(name, minute - 1, minute)
        assert sum(fields.get("p|1|n", 0) for fields in found.values()) == 2
        assert sum(fields.get("p|1|e:no_workers", 0) for fields in found.values()) == 2
    assert len(tallies) == 5


async def test_the_last_flush_takes_every_model(turnout: Turnout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 1)
    object.__setattr__(turnout.settings, "flush_s", 60.0)
    models = [f"m{number}" for number in range(5)]
    await turnout.commit(
        {f"route/{name}": {"model": name, "split": [{"version": "1", "weight": 100}]} for name in models}
    )
    await turnout.start()
    for name in models:
        assert (await turnout.post(f"/v2/models/{name}/infer"))[0] == 503
    await turnout.stop()
    tallies = turnout.process.tallies.versions
    assert [tally.settled for tally in tallies.values()] == [1] * 5
    await turnout.start()


async def test_a_prediction_is_written_without_waiting_for_its_models_turn(
    turnout: Turnout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK", 0)
    await turnout.route()
    await turnout.worker()
    await turnout.start()
    assert (await turnout.infer())[0] == 200
    await eventually(lambda: turnout.process.recorder.of("digits").written == 1)
