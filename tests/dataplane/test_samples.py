"""A few requests are kept to look at; their bodies only where the route says so."""

import base64

import orjson

from gateway.contract.record import Kind, id_of, place_of
from gateway.dataplane.samples import Samples
from tests.dataplane.conftest import Turnout
from tests.dataplane.test_recording import says
from tests.store.samples import until

BODY = b'{"inputs": []}'


async def begin(turnout: Turnout, **record: bool) -> None:
    await turnout.route(shadows=[{"version": "2", "percent": 100}], record=record)
    await turnout.worker(says(b"7"))
    await turnout.worker(says(b"3"), version="2")
    await turnout.start()


async def test_a_disagreement_is_kept_with_its_outputs_and_without_its_body(turnout: Turnout) -> None:
    await begin(turnout)
    _, headers, _ = await turnout.post("/v2/models/digits/infer", BODY, content_type="application/json")
    predictions = turnout.process.predictions
    await until(lambda: predictions.disagreements("digits", "1", "2"))
    [kept] = await predictions.disagreements("digits", "1", "2")
    assert kept["prediction_id"] == headers["turnout-prediction-id"]
    assert (kept["primary"], kept["shadow"], kept["apart"]) == (7, 3, None)
    assert "body" not in kept
    assert await predictions.samples("digits", 10) == []


async def test_bodies_are_kept_where_the_route_says_so(turnout: Turnout) -> None:
    await begin(turnout, bodies=True)
    await turnout.post("/v2/models/digits/infer", BODY, content_type="application/json")
    predictions = turnout.process.predictions
    await until(lambda: predictions.disagreements("digits", "1", "2"))
    [kept] = await predictions.disagreements("digits", "1", "2")
    assert base64.b64decode(kept["body"]) == BODY
    assert await predictions.samples("digits", 10) == [orjson.loads(BODY)]


def test_of_numbers_the_farthest_apart_is_held_and_of_classes_one_each_flush() -> None:
    held = Samples()
    for at_s, (one, other) in enumerate([(b"1.0", b"1.1"), (b"1.0", b"9.0"), (b"2.0", b"2.2")]):
        held.differed(
            ("1", "2"), place=("=a", b"="), at_s=at_s, outputs=(one, other), kind=Kind.NUMBER, body=None
        )
    assert orjson.loads(held.worst["1", "2"][1])["shadow"] == 9.0
    for late_s in (5.0, 6.0):
        held.differed(
            ("1", "3"), place=("=a", b"="), at_s=late_s, outputs=(b"1", b"2"), kind=Kind.CLASS, body=None
        )
    assert orjson.loads(held.worst["1", "3"][1])["at_ms"] == 5000  # until it is written: then the next


def test_an_id_is_found_again_from_its_place() -> None:
    for prediction_id in ("0192f0c1-2d3e-7abc-8def-0123456789ab", "order-4711"):
        place = place_of(prediction_id)
        assert id_of(place.bucket, place.field) == prediction_id
