"""Requests are counted by the values of the headers that a route names, within bounds."""

import time
from collections import Counter

from gateway.contract.evidence import MOST_VALUES
from gateway.contract.record import SLICES_SUFFIX
from gateway.core.evidence.sums import Table, read
from gateway.dataplane.recorder import MAX_BATCH, Recorder
from gateway.dataplane.slicer import Slicer
from gateway.dataplane.tally import Tallies
from gateway.store.predictions import Batch, Predictions
from tests.dataplane.conftest import Turnout
from tests.store.samples import until


async def table_of(turnout: Turnout) -> Table:
    minute = int(time.time() // 60)
    return read(await Predictions(turnout.redis).evidence("digits", minute - 2, minute + 1))


async def test_answers_errors_and_labels_are_counted_by_slice(turnout: Turnout) -> None:
    await turnout.route(
        split=[{"version": "1", "weight": 100}], record={"slices": ["x-tenant"], "output": "label"}
    )
    await turnout.worker()
    await turnout.start()
    _, headers, _ = await turnout.infer(x_tenant="beta")
    await turnout.infer(x_tenant="beta")
    await turnout.infer()
    for worker in turnout.workers:
        await worker.stop()
    assert (await turnout.infer(x_tenant="beta"))[0] >= 500
    body = b'{"prediction_id": "%b", "label": 7}' % headers["turnout-prediction-id"].encode()
    assert (await turnout.post("/v2/models/digits/feedback", body))[0] in (200, 202)

    async def is_scored() -> bool:
        table = await table_of(turnout)
        beta = table.slices.get(("x-tenant", "beta"))
        return beta is not None and beta.roles["p", "1"]["l"] == 1 and beta.roles["p", "1"]["n"] == 3

    await until(is_scored)
    table = await table_of(turnout)
    beta, none = (table.slices["x-tenant", value].roles["p", "1"] for value in ("beta", "(none)"))
    assert (beta["n"], beta["ok"], sum(beta.errors().values())) == (3, 2, 1)
    assert (none["n"], none["ok"]) == (1, 1)


def test_values_are_bounded_in_number_length_and_characters() -> None:
    counts: Counter[str] = Counter()
    slicer = Slicer(("x-tenant",), counts)
    for number in range(100):
        slicer.count({b"x-tenant": b"t%d" % number}, "1", "ok")
    slicer.count({b"x-tenant": b"a" * 65}, "1", "ok")
    values = {field.split("|")[2] for field in counts}
    assert len(values) == 33
    assert counts["x|x-tenant|(other)|p|1|n"] == 69
    assert Slicer(("x-tenant",), counts).text({b"x-tenant": b"a|b\xff"}) == b"x-tenant|a_b_"


def test_a_request_without_the_header_is_none_even_when_callers_sent_many_values() -> None:
    counts: Counter[str] = Counter()
    slicer = Slicer(("x-tenant",), counts)
    for number in range(MOST_VALUES):
        slicer.count({b"x-tenant": b"t%d" % number}, "1", "ok")
    slicer.count({}, "1", "ok")
    slicer.count({b"x-tenant": b""}, "1", "ok")
    assert counts["x|x-tenant|(none)|p|1|n"] == 2


def test_a_record_and_its_slices_are_written_in_one_batch() -> None:
    recorder = Recorder("r", Tallies(), bound=10**6)
    model = recorder.of("digits")
    for number in range(MAX_BATCH):
        field = b"%07da" % number
        model.add("b", field, b"a record")
        if number % 2 or number == MAX_BATCH - 1:
            model.add("b", field + SLICES_SUFFIX, b"x-tenant|beta")
    while (batch := model.next_batch(recorder.tallies, 0)) is not None:
        [(_, _, entries)] = batch.records
        assert not entries[0][0].endswith(SLICES_SUFFIX)
        model.sent()


async def test_a_value_that_looks_like_a_confusion_count_is_a_slice_like_any_other(turnout: Turnout) -> None:
    counts: Counter[str] = Counter()
    Slicer(("x-tenant",), counts).count({b"x-tenant": b"c:acme"}, "1", "ok")
    predictions, minute = Predictions(turnout.redis), int(time.time() // 60)
    await predictions.write("digits", "r", Batch(1, [], {minute: dict(counts)}))
    found = await predictions.evidence("digits", minute, minute, with_confusion=False)
    assert read(found).slices["x-tenant", "c:acme"].roles["p", "1"]["ok"] == 1


def test_made_up_values_do_not_keep_others_out_for_ever() -> None:
    counts: Counter[str] = Counter()
    slicer = Slicer(("x-tenant",), counts)
    for number in range(MOST_VALUES):
        slicer.count({b"x-tenant": b"junk%d" % number}, "1", "ok")
    slicer.forget_at_s = 0.0  # a minute has passed
    slicer.count({b"x-tenant": b"beta"}, "1", "ok")
    assert counts["x|x-tenant|beta|p|1|n"] == 1
