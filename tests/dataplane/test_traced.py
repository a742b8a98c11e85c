"""One request's spans: the gateway's own, its attempts, and what a worker makes of them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from gateway.traces import export
from gateway.traces.settings import TraceSettings
from tests.dataplane.conftest import Turnout
from tests.scripted import Call, hang, usual
from tests.sockets import Raw, eventually
from tests.traces.receiver import Receiver, attributes, receiving
from tests.workers.models import identity
from tests.workers.processes import Running, infer_body, register, request, start

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
REQUEST = "POST /v2/models/{model}/infer"


def headers_of(call: Call) -> dict[str, str]:
    lines = call.head.decode("latin-1").strip().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines)


async def broken(call: Call) -> None:
    call.reset()


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    monkeypatch.setattr(export, "FLUSH_S", 0.01)
    async with receiving() as made:
        yield made


@pytest.fixture
async def traced(turnout: Turnout, receiver: Receiver) -> Turnout:
    """A gateway that traces what its clients sample."""
    traces = TraceSettings(otlp_endpoint=receiver.endpoint)
    turnout.settings = replace(turnout.settings, traces=traces)
    return turnout


async def of_request(receiver: Receiver, *, spans: int) -> tuple[Span, list[Span]]:
    """The request's span and its attempts, in order."""
    await eventually(lambda: len(receiver.spans) >= spans)
    assert len(receiver.spans) == spans
    (root,) = receiver.named(REQUEST)
    attempts = sorted(receiver.named("attempt"), key=lambda span: span.start_time_unix_nano)
    assert all(span.trace_id == root.trace_id for span in attempts)
    assert all(span.parent_span_id == root.span_id for span in attempts)
    return root, attempts


async def test_a_sampled_request_has_its_own_span_and_one_for_its_attempt(
    traced: Turnout, receiver: Receiver
) -> None:
    worker = await traced.worker()
    committed = await traced.route()
    await traced.start()
    await traced.has_workers(1)
    status, told, _ = await traced.infer(traceparent=SAMPLED, tracestate="vendor=1")
    assert status == 200
    root, (attempt,) = await of_request(receiver, spans=2)
    assert (root.trace_id.hex(), root.parent_span_id.hex(), root.kind) == (TRACE, SPAN, 2)
    assert attributes(root) == {
        "http.request.method": "POST",
        "http.route": "/v2/models/{model}/infer",
        "http.response.status_code": 200,
        "turnout.model": "digits",
        "turnout.version": "1",
        "turnout.revision": committed.revision,
        "turnout.reason": "weight",
        "turnout.attempts": 1,
        "turnout.prediction_id": told["turnout-prediction-id"],
    }
    assert root.trace_state == attempt.trace_state == "vendor=1"
    assert (attempt.kind, attributes(attempt)["turnout.worker"]) == (3, "w0")
    assert root.start_time_unix_nano <= attempt.start_time_unix_nano
    assert attempt.end_time_unix_nano <= root.end_time_unix_nano
    seen = headers_of(worker.calls[-1])
    assert seen["traceparent"] == f"00-{TRACE}-{attempt.span_id.hex()}-01"
    assert seen["tracestate"] == "vendor=1"


async def test_its_prediction_is_recorded_under_the_id_that_the_span_names(
    traced: Turnout, receiver: Receiver
) -> None:
    await traced.worker()
    await traced.route()
    await traced.start()
    await traced.has_workers(1)
    _, told, _ = await traced.infer(traceparent=SAMPLED)
    prediction_id = told["turnout-prediction-id"]
    await eventually(lambda: traced.process.recorder.of("digits").written == 1)
    feedback = orjson.dumps({"prediction_id": prediction_id, "label": 7})
    _, _, answer = await traced.post("/v2/models/digits/feedback", feedback)
    assert answer["status"] == "joined"
    root, _ = await of_request(receiver, spans=2)
    assert attributes(root)["turnout.prediction_id"] == prediction_id


@pytest.mark.parametrize("header", [UNSAMPLED, f"00-{TRACE}-{SPAN}-02", "nonsense", ""])
async def test_what_its_client_does_not_sample_leaves_no_span_and_goes_its_usual_way(
    traced: Turnout, receiver: Receiver, header: str
) -> None:
    worker = await traced.worker()
    await traced.route()
    await traced.start()
    await traced.has_workers(1)
    told = {"traceparent": header, "tracestate": "vendor=1"} if header else {}
    assert (await traced.infer(**told))[0] == 200
    assert (await traced.infer(traceparent=SAMPLED))[0] == 200
    await of_request(receiver, spans=2)
    seen = headers_of(worker.calls[0])
    is_trace = header.startswith("00-")
    assert seen.get("traceparent") == (header if is_trace else None)
    assert seen.get("tracestate") == ("vendor=1" if is_trace else None)  # of a trace that nobody can name


async def test_a_share_of_the_others_begins_a_trace(traced: Turnout, receiver: Receiver) -> None:
    traces = TraceSettings(otlp_endpoint=receiver.endpoint, share=1.0)
    traced.settings = replace(traced.settings, traces=traces)
    worker = await traced.worker()
    await traced.route()
    await traced.start()
    await traced.has_workers(1)
    await traced.infer(traceparent=UNSAMPLED)
    await traced.infer()
    root, (attempt,) = await of_request(receiver, spans=2)
    assert not root.parent_span_id
    assert headers_of(worker.calls[-1])["traceparent"].split("-")[1:3] == [
        root.trace_id.hex(),
        attempt.span_id.hex(),
    ]


async def test_each_attempt_of_a_retry_has_its_span_and_its_end(traced: Turnout, receiver: Receiver) -> None:
    workers = [await traced.worker(broken), await traced.worker(broken)]
    await traced.route(retry={"attempts": 2, "budget_percent": 100})
    await traced.start()
    await traced.has_workers(2)
    assert (await traced.infer(traceparent=SAMPLED))[0] == 502
    root, attempts = await of_request(receiver, spans=3)
    assert [attributes(span)["error.type"] for span in attempts] == ["reset", "reset"]
    assert {attributes(span)["turnout.worker"] for span in attempts} == {"w0", "w1"}
    assert (root.status.code, root.status.message) == (2, "bad_upstream")
    assert attributes(root)["turnout.attempts"] == 2
    sent = {headers_of(worker.calls[-1])["traceparent"].split("-")[2] for worker in workers}
    assert sent == {span.span_id.hex() for span in attempts}


async def test_a_hedge_has_a_span_and_the_loser_says_so(traced: Turnout, receiver: Receiver) -> None:
    await traced.worker(hang)
    await traced.worker(usual)
    await traced.route(hedge={"after_ms": 20}, retry={"attempts": 2, "budget_percent": 100})
    await traced.start()
    await traced.has_workers(2)
    hedges = traced.process.tallies.hedges
    attempts: list[Span] = []
    while not attempts or attributes(attempts[0])["turnout.worker"] != "w0":  # which is the one that hangs
        receiver.spans.clear()
        before = hedges["digits", "1"]
        assert (await traced.infer(traceparent=SAMPLED))[0] == 200
        _, attempts = await of_request(receiver, spans=2 + hedges["digits", "1"] - before)
    first, second = attempts
    assert first.status.message == "gave way to the hedge"
    assert attributes(second)["turnout.is_hedge"] is True
    assert second.status.code == 0


async def test_a_refusal_and_a_missing_worker_have_their_span(traced: Turnout, receiver: Receiver) -> None:
    await traced.route()
    await traced.start()
    await traced.infer(traceparent=SAMPLED)
    await traced.infer(traceparent=SAMPLED, turnout_timeout_ms="soon")
    await eventually(lambda: len(receiver.spans) == 2)
    missing, refused = sorted(receiver.spans, key=lambda span: span.start_time_unix_nano)
    assert attributes(missing)["error.type"] == missing.status.message == "no_workers"
    assert attributes(refused)["http.response.status_code"] == 400
    assert refused.status.code == 0  # the caller's fault is no error of this side


async def test_a_receiver_that_is_away_harms_no_request(traced: Turnout) -> None:
    traces = TraceSettings(otlp_endpoint="http://127.0.0.1:9", share=1.0)
    traced.settings = replace(traced.settings, traces=traces)
    await traced.worker()
    await traced.route()
    await traced.start()
    await traced.has_workers(1)
    exporter = traced.process.exporter
    assert exporter is not None
    for _ in range(20):
        assert (await traced.infer())[0] == 200
    # those that are being encoded are in neither
    await eventually(lambda: len(exporter.waiting) + (exporter.unsent or (b"", 0))[1] == 40)


async def test_without_an_endpoint_nothing_of_it_is_there(turnout: Turnout) -> None:
    await turnout.route()
    await turnout.start()
    assert turnout.process.exporter is None
    bases = {base.__name__ for base in turnout.process.server.protocol.__mro__}
    assert "TracedProtocol" not in bases


# -- the whole way ---------------------------------------------------------------------------------------


@pytest.fixture
async def worker(traced: Turnout, receiver: Receiver, tmp_path: Path) -> AsyncIterator[Running]:
    """A real worker of the model `m`, which the gateway routes to."""
    await register(traced.redis, tmp_path, identity("FP32", [None, 1]))
    options = ("--redis-url", traced.url, "--artifacts", str(tmp_path), "--otlp-endpoint", receiver.endpoint)
    started = start(
        tmp_path / "worker.log",
        *("worker", "--model", "m", "--version", "1", "--max-delay-ms", "1000", "--max-batch-rows", "2"),
        *options,
    )
    yield started
    started.cleanup()


async def test_client_gateway_attempt_worker_and_batch_are_one_trace_and_a_shared_batch_is_linked(
    traced: Turnout, receiver: Receiver, worker: Running
) -> None:
    await traced.commit({"route/m": {"model": "m", "split": [{"version": "1", "weight": 100}]}})
    await traced.start()
    await eventually(lambda: len(traced.process.pools.get("m", "1").ready) == 1)
    clients = [await Raw.open(traced.port) for _ in range(3)]
    traces = [f"{number:032x}" for number in range(1, 4)]  # one runs alone, the others wait for company
    for client, trace in zip(clients, traces, strict=True):
        headers = {"traceparent": f"00-{trace}-{SPAN}-01", "content-type": "application/json"}
        client.send(request(infer_body([1.0]), headers=headers))
    for client in clients:
        assert (await client.reply())[0] == 200
        client.close()
    await eventually(lambda: len(receiver.spans) == 11)
    assert receiver.services == {"turnout-gateway", "turnout-worker"}
    by_id = {span.span_id: span for span in receiver.spans}
    alone, batch = sorted(receiver.named("batch"), key=lambda span: len(span.links))
    assert len(alone.links) == 1
    chain = [batch]
    while chain[-1].parent_span_id in by_id:
        chain.append(by_id[chain[-1].parent_span_id])
    assert [span.name for span in chain] == ["batch", REQUEST, "attempt", REQUEST]
    assert chain[-1].parent_span_id.hex() == SPAN
    assert attributes(batch) == {"turnout.requests": 2, "turnout.rows": 2}
    members = [by_id[link.span_id] for link in batch.links]
    first = by_id[alone.links[0].span_id]  # whichever of the three connections was read first
    assert {span.trace_id.hex() for span in members} == set(traces) - {first.trace_id.hex()}
    (other,) = [span for span in members if span.trace_id != batch.trace_id]
    assert [link.span_id for link in other.links] == [batch.span_id]
