"""Whatever the receiver does, spans are bounded, counted and off everybody's way."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from gateway.traces import export
from gateway.traces.export import BATCH, BOUND, Exporter
from gateway.traces.settings import TraceSettings
from gateway.traces.span import Kind, Span
from gateway.wire.tasks import end_tasks
from tests.sockets import PATIENCE_S, eventually, free_port
from tests.traces.receiver import receiving


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "FLUSH_S", 0.01)
    monkeypatch.setattr(export, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(export, "SEND_S", PATIENCE_S)
    monkeypatch.setattr(export, "LAST_SEND_S", PATIENCE_S)


def exporter_to(endpoint: str, **headers: str) -> Exporter:
    settings = TraceSettings(otlp_endpoint=endpoint, headers=headers)
    assert settings.problems() == []
    return Exporter(settings, {"service.name": "test"})


@asynccontextmanager
async def running(exporter: Exporter) -> AsyncIterator[None]:
    task = asyncio.create_task(exporter.run())
    yield
    await end_tasks([task])
    await exporter.finish()


def add(exporter: Exporter, count: int = 1) -> None:
    for _ in range(count):
        exporter.add(Span("a", Kind.INTERNAL, {}))


async def test_spans_arrive_in_batches_with_the_receivers_headers() -> None:
    async with receiving() as receiver:
        exporter = exporter_to(receiver.endpoint, authorization="Bearer k")
        add(exporter, BATCH + 1)
        async with running(exporter):
            await eventually(lambda: len(receiver.spans) == BATCH + 1)
    assert (exporter.exported, exporter.dropped, receiver.asked) == (BATCH + 1, 0, 2)
    assert receiver.heads[0].startswith("POST /v1/traces HTTP/1.1\r\n")
    assert "authorization: Bearer k\r\n" in receiver.heads[0]
    assert "content-type: application/x-protobuf\r\n" in receiver.heads[0]


async def test_a_closed_port_costs_the_spans_alone_and_what_does_not_fit_is_counted() -> None:
    exporter = exporter_to(f"http://127.0.0.1:{free_port()}")
    async with running(exporter):
        add(exporter, BOUND + 10)
        assert exporter.dropped == 10
        await eventually(lambda: exporter.unsent is not None)
        assert exporter.exported == 0
    assert exporter.dropped == BOUND + 10  # none is forgotten at the end


async def test_a_receiver_that_stalls_is_given_up_tried_again_and_told_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "SEND_S", 2.0)
    answers: Iterator[int | None] = iter([None, 503, 429, 200])
    async with receiving(lambda: next(answers)) as receiver:
        exporter = exporter_to(receiver.endpoint)
        add(exporter)
        async with running(exporter):
            await eventually(lambda: exporter.exported == 1)
    assert (receiver.asked, exporter.dropped) == (4, 0)
    assert [record.levelname for record in caplog.records if record.name == "turnout.traces"] == ["WARNING"]


async def test_what_the_receiver_refuses_for_good_is_not_sent_again() -> None:
    answers: Iterator[int | None] = iter([400, 200])
    async with receiving(lambda: next(answers)) as receiver:
        exporter = exporter_to(receiver.endpoint)
        async with running(exporter):
            add(exporter, 3)
            await eventually(lambda: exporter.dropped == 3)
            add(exporter, 1)
            await eventually(lambda: exporter.exported == 1)
    assert len(receiver.spans) == 1


async def test_garbage_instead_of_a_reply_is_a_receiver_that_is_away() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"what\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        exporter = exporter_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        add(exporter)
        assert await exporter.send(within_s=PATIENCE_S) is False
        assert exporter.unsent is not None


async def test_the_last_spans_of_a_process_are_sent() -> None:
    async with receiving() as receiver:
        exporter = exporter_to(receiver.endpoint + "/")
        add(exporter, 2)
        await exporter.finish()
    assert len(receiver.spans) == 2


async def test_spans_that_were_being_encoded_at_the_end_are_sent_in_their_order() -> None:
    async with receiving() as receiver:
        exporter = exporter_to(receiver.endpoint)
        spans = [Span("a", Kind.INTERNAL, {}) for _ in range(100)]
        for span in spans:
            exporter.add(span)
        sending = asyncio.create_task(exporter.send(within_s=PATIENCE_S))
        await asyncio.sleep(0)
        assert not exporter.waiting  # taken out, and not sent yet
        await end_tasks([sending])
        await exporter.finish()
    assert [span.span_id for span in receiver.spans] == [span.span_id for span in spans]
    assert (exporter.exported, exporter.dropped) == (100, 0)


async def test_the_end_waits_for_no_stalled_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "LAST_SEND_S", 0.1)
    async with receiving(lambda: None) as receiver:
        exporter = exporter_to(receiver.endpoint)
        add(exporter)
        async with asyncio.timeout(PATIENCE_S):
            await exporter.finish()
    assert exporter.dropped == 1


async def test_the_end_waits_for_no_slow_receiver_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its answers comes in time; all of them together would not."""
    monkeypatch.setattr(export, "BATCH", 1)
    monkeypatch.setattr(export, "LAST_SEND_S", 0.2)
    async with receiving(delay_s=0.04) as receiver:
        exporter = exporter_to(receiver.endpoint)
        add(exporter, 50)
        await exporter.finish()
    assert exporter.dropped > 40


@pytest.mark.parametrize(
    "endpoint", ["localhost:4318", "ftp://x", "http://", "http://u:p@x", "http://x:99999", "http://x?a=b"]
)
def test_an_endpoint_that_is_none_is_a_problem_of_the_settings(endpoint: str) -> None:
    (problem,) = TraceSettings(otlp_endpoint=endpoint).problems()
    assert "write http://HOST:4318" in problem


def test_a_share_and_headers_are_checked() -> None:
    wrong = TraceSettings(share=1.5, headers={"a": "b\r\nc: d"})
    assert len(wrong.problems()) == 2
    assert "c: d" not in repr(wrong)  # a header may be a key
