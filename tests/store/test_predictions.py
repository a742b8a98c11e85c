"""Labels join their predictions exactly once and are scored right, in whatever order things come."""

import asyncio
import json
import math
import time
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.bins import middle_of
from gateway.contract.evidence import EVIDENCE_TTL_S
from gateway.contract.feedback import FeedbackResult
from gateway.contract.record import SLICES_SUFFIX, Kind, place_of
from gateway.core.evidence.scores import scores
from gateway.core.evidence.sums import read
from gateway.store import predictions as module
from gateway.store.connection import ask, connect
from gateway.store.embedded import EmbeddedServer
from gateway.store.predictions import Batch, Predictions
from tests.sockets import PATIENCE_S
from tests.store.samples import TTL_S, batch, entry, new_id, record, total

JOINED, DUPLICATE, CORRECTED = FeedbackResult.JOINED, FeedbackResult.DUPLICATE, FeedbackResult.CORRECTED
WAITING, UNKNOWN = FeedbackResult.WAITING, FeedbackResult.UNKNOWN
EXPIRED, INVALID = FeedbackResult.EXPIRED, FeedbackResult.INVALID


@pytest.fixture
def redis_server(shared_server: EmbeddedServer) -> EmbeddedServer:
    return shared_server


async def _label(store: Predictions, prediction_id: str, label: Any) -> FeedbackResult:
    text = orjson.dumps(label, option=orjson.OPT_SORT_KEYS).decode()
    [result] = await store.feedback("digits", [(prediction_id, text, None)], ttl_s=TTL_S)
    return result


async def _reward(store: Predictions, prediction_id: str, reward: float) -> FeedbackResult:
    [result] = await store.feedback("digits", [(prediction_id, None, reward)], ttl_s=TTL_S)
    return result


async def _sums(store: Predictions) -> dict[str, float]:
    minute = int(time.time() // 60)
    return total(await store.evidence("digits", minute - 20, minute + 1))


async def _write(store: Predictions, *entries: tuple[str, bytes, bytes], recorder: str = "r") -> None:
    await store.write("digits", recorder, batch(*entries))


async def test_what_was_written_is_found(predictions: Predictions) -> None:
    made = new_id()
    await _write(
        predictions,
        entry(made, record("1", "c", 7, at_s=1000)),
        entry(made, record("3", "r", [1.5, None], at_s=1001), slot=2),
        entry(made, record("4", "n", None), slot=7),
    )
    found = await predictions.find("digits", made)
    primary, shadow, last = found.records
    assert (primary.version, primary.role, primary.revision, primary.at_s) == ("1", "p", 42, 1000)
    assert (primary.latency_us, primary.kind, primary.output) == (1234, Kind.CLASS, 7)
    assert (shadow.version, shadow.role, shadow.output) == ("3", "s", [1.5, None])
    assert (last.version, last.kind, last.output) == ("4", Kind.NONE, None)
    assert found.label is None
    assert (await predictions.find("digits", new_id())).records == []


@pytest.mark.parametrize(
    ("way", "reason", "rule", "worker", "attempts"),
    [
        ("", None, None, None, None),
        ("p/1ab2cd34", "pin", None, "1ab2cd34", 1),
        ("s/1ab2cd34", "sticky", None, "1ab2cd34", 1),
        ("w/w1/2", "weight", None, "w1", 2),
        ("f//5", "fallback", None, "", 5),
        ("0/1ab2cd34", None, 0, "1ab2cd34", 1),
        ("63/1ab2cd34/3", None, 63, "1ab2cd34", 3),
    ],
)
async def test_how_an_answer_came_about_is_found_and_spoils_no_score(
    predictions: Predictions,
    way: str,
    reason: str | None,
    rule: int | None,
    worker: str | None,
    attempts: int | None,
) -> None:
    made = new_id()
    await _write(predictions, entry(made, record("1", "c", "a]", way=way)))
    assert await _label(predictions, made, "a]") is JOINED
    [found] = (await predictions.find("digits", made)).records
    assert (found.kind, found.output) == (Kind.CLASS, "a]")
    assert (found.reason, found.rule, found.worker, found.attempts) == (reason, rule, worker, attempts)
    assert (await _sums(predictions))["p|1|right"] == 1


async def test_one_label_scores_the_primary_and_every_shadow(predictions: Predictions) -> None:
    made = new_id()
    await _write(
        predictions,
        entry(made, record("1", "c", 7)),
        entry(made, record("2", "c", 3), slot=0),
        entry(made, record("3", "c", 7), slot=7),
    )
    assert await _label(predictions, made, 3) is JOINED
    assert await _sums(predictions) == {
        "p|1|l": 1, "p|1|rows": 1, "p|1|c:3:7": 1,
        "s|2|l": 1, "s|2|rows": 1, "s|2|right": 1, "s|2|c:3:3": 1,
        "s|3|l": 1, "s|3|rows": 1, "s|3|c:3:7": 1,
        "d|1|2|rows": 1, "d|1|2|c": 1,
        "d|1|3|rows": 1,
    }  # fmt: skip
    assert (await predictions.find("digits", made)).label == 3


async def test_numbers_are_scored_by_their_errors(predictions: Predictions) -> None:
    made = new_id()
    await _write(
        predictions, entry(made, record("1", "r", [1.0, -2.0])), entry(made, record("2", "r", [2, 0]), slot=0)
    )
    assert await _label(predictions, made, [3, -1.5]) is JOINED
    assert await _sums(predictions) == {
        "p|1|l": 1, "p|1|rows": 2, "p|1|ae": 2.5, "p|1|se": 4.25, "p|1|q4": 16.0625,
        "s|2|l": 1, "s|2|rows": 2, "s|2|ae": 2.5, "s|2|se": 3.25, "s|2|q4": 6.0625,
        "d|1|2|rows": 2, "d|1|2|d2": 2,
    }  # fmt: skip
    minute = int(time.time() // 60)
    evidence = await predictions.evidence("digits", minute - 1, minute)
    assert any("d|1|2|d" in sums for sums in evidence.values())


async def test_a_perfect_number_still_shows_that_numbers_were_scored(predictions: Predictions) -> None:
    made = new_id()
    await _write(predictions, entry(made, record("1", "r", 1.5)))
    await _label(predictions, made, 1.5)
    minute = int(time.time() // 60)
    [sums] = (await predictions.evidence("digits", minute - 1, minute)).values()
    assert sums["p|1|ae"] == 0


@pytest.mark.parametrize(
    ("kind", "output", "label", "right"),
    [
        ("c", 7, 7, 1),
        ("c", 7, 7.0, 1),
        ("c", 7, [7], 1),
        ("c", [7], 7, 1),
        ("c", [7, 8, 9], [7, 0, 9], 2),
        ("c", True, True, 1),
        ("c", True, False, 0),
        ("c", "cat", "cat", 1),
        ("c", 'a "b", [c] \\ {d} ä\n\x01', 'a "b", [c] \\ {d} ä\n\x01', 1),
        ("c", ["a,b", 'c"]', ""], ["a,b", 'c"]', ""], 3),
        ("c", 2**60 + 1, 2**60 + 1, 1),
        ("c", 2**60 + 1, 2**60, 0),
        ("c", 7, 7.5, 0),
        ("c", [7, None, [1]], [7, 1, 1], 1),
        ("c", [], [], 0),
    ],
)
async def test_classes_are_compared_by_value(
    predictions: Predictions, kind: str, output: Any, label: Any, right: int
) -> None:
    made = new_id()
    await _write(predictions, entry(made, record("1", kind, output)))
    assert await _label(predictions, made, label) is JOINED
    assert (await _sums(predictions)).get("p|1|right", 0) == right


async def test_texts_escaped_differently_are_the_same_class(predictions: Predictions, redis: Redis) -> None:
    made = new_id()
    raw = record("1", "c", 0).replace(b",0]", b',["\\u00e4\\/\\n", "b" ,\t7 ]]')
    await _write(predictions, entry(made, raw))
    assert await _label(predictions, made, ["ä/\n", "b", 7]) is JOINED
    sums = await _sums(predictions)
    assert sums["p|1|right"] == 3
    assert sums['p|1|c:"ä/\\n":"ä/\\n"'] == 1


@pytest.mark.parametrize(
    ("kind", "output", "label"),
    [
        ("c", 7, "7"),
        ("c", "7", 7),
        ("c", True, 1),
        ("c", 1, True),
        ("c", 7, None),
        ("c", 7, [7, 7]),
        ("c", [7, 8], 7),
        ("c", [7, 8], [7]),
        ("c", [7, 8], [7, "8"]),
        ("c", [7], [[7]]),
        ("c", 7, {"label": 7}),
        ("r", 1.5, "1.5"),
        ("r", 1.5, True),
        ("r", 1.5, [1.5, 1.5]),
        ("r", 1.5, 1e300),
        ("r", [1.5, None], [1.5, "x"]),
    ],
)
async def test_a_label_that_cannot_be_compared_is_refused_and_changes_nothing(
    predictions: Predictions, redis: Redis, kind: str, output: Any, label: Any
) -> None:
    made = new_id()
    await _write(predictions, entry(made, record("1", kind, output)))
    before = {key: await redis.dump(key) for key in await redis.keys()}
    assert await _label(predictions, made, label) is INVALID
    assert {key: await redis.dump(key) for key in await redis.keys()} == before


@pytest.mark.parametrize(
    "garbage", [b"<html>", b"[1", b'"open', b"[1,]", b"nan", b"1e999", b"{}", b"[[1]]", b""]
)
async def test_a_workers_garbage_breaks_nothing(predictions: Predictions, garbage: bytes) -> None:
    garbled, fine = new_id(), new_id()
    raw = record("1", "c", 0).replace(b",0]", b",%b]" % garbage)
    await _write(predictions, entry(garbled, raw), entry(fine, record("1", "c", 1)))
    assert await _label(predictions, garbled, 1) in (INVALID, JOINED)
    assert await _label(predictions, fine, 1) is JOINED
    assert all(math.isfinite(value) for value in (await _sums(predictions)).values())
    [shown] = (await predictions.find("digits", garbled)).records
    assert (shown.version, shown.revision) == ("1", 42)


async def test_a_shadow_that_cannot_be_compared_spoils_nothing(predictions: Predictions) -> None:
    made = new_id()
    await _write(
        predictions,
        entry(made, record("1", "c", 7)),
        entry(made, record("2", "c", "seven"), slot=0),
        entry(made, record("3", "r", 7.0), slot=1),
        entry(made, record("4", "n", None), slot=2),
        entry(made, record("5", "c", [7, 7]), slot=3),
    )
    assert await _label(predictions, made, 7) is JOINED
    sums = await _sums(predictions)
    assert {field for field in sums if field[0] == "d"} == set()
    assert {field: value for field, value in sums.items() if field[0] == "s"} == {
        "s|2|l": 1, "s|3|l": 1, "s|3|rows": 1, "s|4|l": 1, "s|5|l": 1,
    }  # fmt: skip


async def test_an_unrecorded_output_still_counts_its_label(predictions: Predictions) -> None:
    made = new_id()
    await _write(predictions, entry(made, record("1", "n", None)))
    assert await _label(predictions, made, {"anything": [1]}) is JOINED
    assert await _sums(predictions) == {"p|1|l": 1}


async def test_the_same_label_again_changes_nothing(predictions: Predictions) -> None:
    made = new_id()
    await _write(predictions, entry(made, record("1", "c", 7)))
    assert await _label(predictions, made, 7) is JOINED
    before = await _sums(predictions)
    assert [await _label(predictions, made, 7) for _ in range(3)] == [DUPLICATE] * 3
    assert await _sums(predictions) == before


async def test_of_a_hundred_identical_labels_at_once_one_is_joined(redis_url: str) -> None:
    clients = [connect(redis_url, name=str(number), timeout_s=PATIENCE_S) for number in range(5)]
    stores = [Predictions(client) for client in clients]
    made = new_id()
    await _write(stores[0], entry(made, record("1", "c", 7)), entry(made, record("2", "c", 1), slot=0))
    results = await asyncio.gather(*(_label(stores[number % 5], made, 7) for number in range(100)))
    assert sorted(results) == [DUPLICATE] * 99 + [JOINED]
    sums = await _sums(stores[0])
    assert (sums["p|1|l"], sums["p|1|right"], sums["s|2|l"], sums["d|1|2|rows"]) == (1, 1, 1, 1)
    for client in clients:
        await client.aclose()


async def test_one_id_many_times_in_one_call_counts_once(predictions: Predictions) -> None:
    made = new_id()
    await _write(predictions, entry(made, record("1", "c", 7)))
    items = [(made, text, None) for text in ("7", "7", "3", "7", '"x"')]
    results = await predictions.feedback("digits", items, ttl_s=TTL_S)
    assert results == [JOINED, DUPLICATE, CORRECTED, CORRECTED, INVALID]
    assert await _sums(predictions) == {"p|1|l": 1, "p|1|rows": 1, "p|1|right": 1, "p|1|c:7:7": 1}


async def test_a_correction_replaces_the_score_and_is_noted(predictions: Predictions, redis: Redis) -> None:
    made = new_id()
    await _write(predictions, entry(made, record("1", "c", 7)), entry(made, record("2", "c", 3), slot=0))
    await _label(predictions, made, 7)
    assert await _label(predictions, made, 3) is CORRECTED
    assert await _sums(predictions) == {
        "p|1|l": 1, "p|1|rows": 1, "p|1|c:3:7": 1,
        "s|2|l": 1, "s|2|rows": 1, "s|2|right": 1, "s|2|c:3:3": 1,
        "d|1|2|rows": 1, "d|1|2|c": 1,
    }  # fmt: skip
    [noted] = await ask(redis, "LRANGE", keys.corrections("digits"), 0, -1)
    assert orjson.loads(noted) | {"at_ms": 0} == {
        "what": "corrected", "prediction_id": made, "before": "7", "now": "3", "at_ms": 0,
    }  # fmt: skip
    assert (await predictions.find("digits", made)).label == 3


async def test_correcting_a_wild_label_leaves_no_trace_in_the_sums(predictions: Predictions) -> None:
    wild, *others = [new_id() for _ in range(4)]
    await _write(predictions, *(entry(made, record("1", "r", 0.1)) for made in (wild, *others)))
    for number, made in enumerate(others):
        await _label(predictions, made, 0.3 + number)
    expected = await _sums(predictions)
    await _label(predictions, wild, 1e9)
    await _label(predictions, wild, 0.1)
    sums = await _sums(predictions)
    for statistic in ("ae", "se", "q4"):
        assert sums[f"p|1|{statistic}"] == pytest.approx(expected[f"p|1|{statistic}"], rel=1e-12)


async def test_rewards_add_up_for_the_primary_alone(predictions: Predictions) -> None:
    one, two = new_id(), new_id()
    await _write(
        predictions,
        entry(one, record("1", "c", 7)),
        entry(one, record("2", "c", 7), slot=0),
        entry(two, record("1", "n", None)),
    )
    assert await _reward(predictions, one, 0.5) is JOINED
    assert await _reward(predictions, one, 0.5) is DUPLICATE
    assert await _reward(predictions, two, -2.0) is JOINED
    assert await _reward(predictions, two, 1e100) is INVALID
    assert await _reward(predictions, one, 1.5) is CORRECTED
    assert await _sums(predictions) == {"p|1|rwn": 2, "p|1|rw": -0.5, "p|1|rw2": 6.25}
    assert (await predictions.find("digits", one)).reward == 1.5
    assert await _label(predictions, one, 7) is CORRECTED
    assert (await _sums(predictions))["p|1|rwn"] == 1
    assert (await predictions.find("digits", one)).label == 7


async def test_feedback_before_its_prediction_waits_and_is_joined(
    predictions: Predictions, redis: Redis
) -> None:
    made, own = new_id(), "order-17"
    for prediction_id in (made, own):
        assert await _label(predictions, prediction_id, 7) is WAITING
        assert await _label(predictions, prediction_id, 7) is WAITING
    assert await redis.hlen(keys.waiting("digits")) == 2
    assert await _sums(predictions) == {}
    await _write(
        predictions,
        entry(made, record("2", "c", 7), slot=0),
        entry(made, record("1", "c", 7)),
        entry(own, record("1", "c", 3)),
    )
    assert await redis.hlen(keys.waiting("digits")) == 0
    assert [await _label(predictions, prediction_id, 7) for prediction_id in (made, own)] == [DUPLICATE] * 2
    sums = await _sums(predictions)
    assert (sums["p|1|l"], sums["p|1|right"], sums["s|2|right"], sums["d|1|2|rows"]) == (2, 1, 1, 1)


async def test_waiting_feedback_may_be_corrected(predictions: Predictions, redis: Redis) -> None:
    assert await _label(predictions, "own", 7) is WAITING
    assert await _label(predictions, "own", 3) is WAITING
    await _write(predictions, entry("own", record("1", "c", 3)))
    assert (await _sums(predictions))["p|1|right"] == 1
    assert await redis.llen(keys.corrections("digits")) == 1


async def test_waiting_feedback_that_does_not_fit_is_noted(predictions: Predictions, redis: Redis) -> None:
    assert await _label(predictions, "own", "seven") is WAITING
    await _write(predictions, entry("own", record("1", "c", 7)))
    assert await _sums(predictions) == {}
    [noted] = await ask(redis, "LRANGE", keys.corrections("digits"), 0, -1)
    told = orjson.loads(noted)
    assert (told["what"], told["prediction_id"], told["now"]) == ("invalid", "own", '"seven"')
    assert await _label(predictions, "own", 7) is JOINED


async def test_a_shadow_slower_than_the_label_is_scored_once(predictions: Predictions) -> None:
    made = new_id()
    await _write(predictions, entry(made, record("1", "c", 7)))
    await _label(predictions, made, 7)
    shadow = entry(made, record("2", "c", 3), slot=4)
    for recorder in ("r1", "r2"):
        await _write(predictions, shadow, shadow, recorder=recorder)
    await _write(predictions, entry(made, record("3", "r", 3), slot=5))
    expected = {
        "p|1|l": 1, "p|1|rows": 1, "p|1|right": 1, "p|1|c:7:7": 1,
        "s|2|l": 1, "s|2|rows": 1, "s|2|c:7:3": 1, "d|1|2|rows": 1, "d|1|2|b": 1,
        "s|3|l": 1, "s|3|rows": 1, "s|3|ae": 4, "s|3|se": 16, "s|3|q4": 256,
    }  # fmt: skip
    assert await _sums(predictions) == expected
    assert await _label(predictions, made, 3) is CORRECTED
    assert (await _sums(predictions))["s|2|right"] == 1


async def test_a_shadow_late_for_a_reward_is_not_scored(predictions: Predictions) -> None:
    made = new_id()
    await _write(predictions, entry(made, record("1", "c", 7)))
    await _reward(predictions, made, 1.0)
    await _write(predictions, entry(made, record("2", "c", 3), slot=0))
    assert await _sums(predictions) == {"p|1|rwn": 1, "p|1|rw": 1, "p|1|rw2": 1}


async def test_an_own_id_used_again_after_its_label_keeps_the_first_answer(predictions: Predictions) -> None:
    await _write(predictions, entry("own", record("1", "c", 1)))
    await _write(predictions, entry("own", record("1", "c", 7)), entry("own", record("2", "c", 7), slot=0))
    assert await _label(predictions, "own", 7) is JOINED
    await _write(predictions, entry("own", record("9", "c", 1)), entry("own", record("9", "c", 1), slot=0))
    assert [found.version for found in (await predictions.find("digits", "own")).records] == ["1", "2"]
    assert await _label(predictions, "own", 1) is CORRECTED
    assert {field for field, _ in (await _sums(predictions)).items() if "9" in field} == set()


async def test_ids_nobody_made_are_told_apart_by_age(predictions: Predictions) -> None:
    assert await _label(predictions, new_id(age_s=30), 7) is WAITING
    assert await _label(predictions, new_id(age_s=700), 7) is UNKNOWN
    assert await _label(predictions, new_id(age_s=TTL_S + 60), 7) is EXPIRED
    assert await _label(predictions, "callers-own", 7) is WAITING


async def test_waiting_is_bounded_and_what_waited_too_long_is_dropped(
    predictions: Predictions, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 10)
    items = [(f"own-{number}", "1", None) for number in range(15)]
    results = await predictions.feedback("digits", items, ttl_s=TTL_S)
    assert results == [WAITING] * 10 + [UNKNOWN] * 5
    assert 600 < await redis.ttl(keys.waiting("digits")) <= 660
    for name, entry_text in (await ask(redis, "HGETALL", keys.waiting("digits"))).items():
        since, _, rest = entry_text.partition(b" ")
        await ask(redis, "HSET", keys.waiting("digits"), name, b"%d %b" % (int(since) - 601_000, rest))
    assert await _label(predictions, "own-99", 1) is WAITING
    assert await redis.hlen(keys.waiting("digits")) == 1


async def test_a_batch_written_again_changes_nothing(predictions: Predictions) -> None:
    made = new_id()
    minute = int(time.time() // 60)
    first = batch(entry(made, record("1", "c", 7)), number=1)
    first.increments[minute] = {"p|1|n": 3, "p|1|us": 1.5}
    for _ in range(3):
        await predictions.write("digits", "r", first)
    assert await _sums(predictions) == {"p|1|n": 3, "p|1|us": 1.5}
    await predictions.write("digits", "r", Batch(2, [], {minute: {"p|1|n": 1}}))
    await predictions.write("digits", "r", first)
    await predictions.write("digits", "other", Batch(1, [], {minute: {"p|1|n": 1}}))
    assert (await _sums(predictions))["p|1|n"] == 5


async def test_no_sum_ever_becomes_infinite_or_nan(predictions: Predictions) -> None:
    minute = int(time.time() // 60)
    odd = {"p|1|us": float("nan"), "a|1|2|d2": float("inf"), "a|1|2|d": 0.1}
    await predictions.write("digits", "r", Batch(1, [], {minute: odd}))
    await predictions.write("digits", "r", Batch(2, [], {minute: odd}))
    assert await _sums(predictions) == {"a|1|2|d": 0.2}


async def test_predictions_and_evidence_end_and_a_longer_life_is_never_shortened(
    predictions: Predictions, redis: Redis
) -> None:
    made = new_id()
    key = keys.predictions("digits", place_of(made).bucket)
    raw = record("1", "c", 7)
    for ttl_s, kept_s in ((600, 600), (60, 600), (900, 900)):
        await predictions.write("digits", f"r{ttl_s}", batch(entry(made, raw), ttl_s=ttl_s))
        assert kept_s - PATIENCE_S <= await redis.ttl(key) <= kept_s
    await _label(predictions, made, 7)
    assert 900 - PATIENCE_S <= await redis.ttl(key) <= 900
    minute = json.loads(raw)[2] // 60
    lives_s = await redis.ttl(keys.evidence("digits", minute))
    assert EVIDENCE_TTL_S - PATIENCE_S <= lives_s <= EVIDENCE_TTL_S
    assert 0 < await redis.ttl(keys.flushed("digits", "r600")) <= EVIDENCE_TTL_S


async def test_evidence_lies_in_the_minute_of_the_prediction(predictions: Predictions) -> None:
    made = new_id()
    at_s = int(time.time()) - 600
    await _write(
        predictions,
        entry(made, record("1", "c", 7, at_s=at_s)),
        entry(made, record("2", "c", 7, at_s=at_s + 60), slot=0),
    )
    await _label(predictions, made, 7)
    minute = at_s // 60
    assert total(await predictions.evidence("digits", minute, minute))["p|1|l"] == 1
    assert total(await predictions.evidence("digits", minute + 1, minute + 30)) == {}


async def test_a_whole_hour_is_read_as_one_and_says_the_same(predictions: Predictions) -> None:
    at_s = int(time.time()) // 3600 * 3600 - 1800
    first, second = new_id(), new_id()
    await _write(predictions, entry(first, record("1", "c", 7, at_s=at_s)))
    await _write(predictions, entry(second, record("1", "c", 7, at_s=at_s + 120)))
    for prediction_id in (first, second):
        await _label(predictions, prediction_id, 7)
    await _label(predictions, second, 3)  # a correction
    hour = at_s // 3600 * 60
    [sums] = (await predictions.evidence("digits", hour, hour + 59)).values()
    assert sums == total(await predictions.evidence("digits", hour + 1, hour + 58), with_outputs=True)
    assert (sums["p|1|l"], sums["p|1|right"]) == (2, 1)
    assert set(await predictions.evidence("digits", hour - 60)) == {hour}


async def test_the_number_of_classes_cannot_fill_the_memory(predictions: Predictions) -> None:
    ids = [new_id() for _ in range(4200)]
    at_s = int(time.time())  # the bound is one of each minute
    await _write(
        predictions, *(entry(made, record("1", "c", number, at_s=at_s)) for number, made in enumerate(ids))
    )
    items = [(made, str(number), None) for number, made in enumerate(ids)]
    assert set(await predictions.feedback("digits", items, ttl_s=TTL_S)) == {JOINED}
    long = new_id()
    await _write(predictions, entry(long, record("1", "c", "x" * 100, at_s=at_s)))
    await _label(predictions, long, "x" * 100)
    sums = await _sums(predictions)
    assert sums["p|1|right"] == 4201
    assert len(sums) <= 4096
    items = [(made, str(number + 1), None) for number, made in enumerate(ids)]
    assert set(await predictions.feedback("digits", items, ttl_s=TTL_S)) == {CORRECTED}
    corrected = await _sums(predictions)
    assert (corrected["p|1|l"], corrected["p|1|right"]) == (4201, 1)
    assert all(value >= 0 for value in corrected.values())


async def test_outputs_are_counted_as_they_come_by_version_and_role(predictions: Predictions) -> None:
    first, second = new_id(), new_id()
    await _write(
        predictions,
        entry(first, record("1", "c", [7, 7, "a"])),
        entry(first, record("2", "r", [0.0, -8.0]), slot=0),
        entry(second, record("1", "n", None)),
        entry(second, record("1", "c", "x" * 100), slot=0),
    )
    minute = int(time.time()) // 60
    table = read(await predictions.evidence("digits", minute - 2, minute))
    assert table.outputs == {("p", "1"): {"7": 2, '"a"': 1}, ("s", "2"): {"0": 1, "-12": 1}}
    assert middle_of("-12") == -8


async def test_the_age_of_a_label_is_counted_at_its_first_coming(predictions: Predictions) -> None:
    now_s = int(time.time()) + int(PATIENCE_S)  # however long this takes, the young ones stay young
    young, old = new_id(), new_id()
    await _write(predictions, entry(young, record("1", "c", 7, at_s=now_s)))
    await _write(predictions, entry(old, record("1", "c", 7, at_s=now_s - 130)))
    for made, label in ((young, 7), (old, 3), (old, 7)):
        await _label(predictions, made, label)
    early = new_id()
    assert await predictions.feedback("digits", [(early, "7", None)], ttl_s=TTL_S) == [FeedbackResult.WAITING]
    await _write(predictions, entry(early, record("1", "c", 7, at_s=now_s)))
    table = read(await predictions.evidence("digits", now_s // 60 - 5, now_s // 60 + 1))
    sums = table.roles["p", "1"]
    assert sums.label_ages() == {0: 2, 6: 1}
    age = scores("1", sums, role="p", alpha=0.05).label_age
    assert age is not None
    assert (age.median_s, age.p90_s) == (1, 64)


async def test_outputs_without_end_are_counted_together_and_cost_no_memory(
    predictions: Predictions, redis: Redis
) -> None:
    now_s = int(time.time())
    for first in (0, 100):
        await _write(
            predictions,
            *(entry(new_id(), record("1", "c", number, at_s=now_s)) for number in range(first, first + 100)),
        )
    table = read(await predictions.evidence("digits", now_s // 60, now_s // 60))
    outputs = table.outputs["p", "1"]
    assert len(outputs) == 65
    assert outputs["(other)"] == 200 - 64
    assert await redis.hlen(keys.evidence("digits", now_s // 60)) < 75


async def test_a_label_is_scored_for_every_slice_of_its_request(predictions: Predictions) -> None:
    here, there = new_id(), new_id()
    entries = []
    for made, value in ((here, "ch"), (there, "us")):
        bucket, field, raw = entry(made, record("1", "c", 7))
        entries += [
            (bucket, field, raw),
            (bucket, field + SLICES_SUFFIX, f"x-country|{value}|x-tenant|beta".encode()),
            entry(made, record("2", "c", 3), slot=0),
        ]
    await _write(predictions, *entries)
    await _label(predictions, here, 7)
    await _label(predictions, there, 3)
    late = entry(here, record("3", "c", 7), slot=1)  # a shadow that answers after the label
    await _write(predictions, late)
    minute = int(time.time()) // 60
    table = read(await predictions.evidence("digits", minute - 2, minute))
    assert table.slices.keys() == {("x-country", "ch"), ("x-country", "us"), ("x-tenant", "beta")}
    swiss = table.slices["x-country", "ch"]
    assert (swiss.roles["p", "1"]["right"], swiss.roles["s", "2"]["right"]) == (1, 0)
    assert (swiss.roles["s", "3"]["right"], swiss.paired["1", "2"]["b"]) == (1, 1)
    assert table.slices["x-country", "us"].paired["1", "2"]["c"] == 1
    assert table.slices["x-tenant", "beta"].roles["p", "1"]["rows"] == 2
    await _label(predictions, here, 3)  # a correction takes away from the slice as well
    table = read(await predictions.evidence("digits", minute - 2, minute))
    assert table.slices["x-country", "ch"].roles["p", "1"]["right"] == 0
    assert table.roles["p", "1"]["right"] == 0


async def test_ten_thousand_records_are_one_call(predictions: Predictions) -> None:
    ids = [new_id() for _ in range(5000)]
    entries = [entry(made, record("1", "c", 7)) for made in ids]
    entries += [entry(made, record("2", "c", 7), slot=0) for made in ids]
    big = batch(
        *[("one-bucket", place_of(made).field, raw) for made, (_, _, raw) in zip(ids, entries, strict=False)]
    )
    await predictions.write("digits", "r", big)
    await predictions.write("digits", "r", batch(*entries))
    found = await predictions.find("digits", ids[-1])
    assert [one.version for one in found.records] == ["1", "2"]
