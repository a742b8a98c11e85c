"""A receiver of OTLP over HTTP on a real socket, which reads spans with OpenTelemetry's own classes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Value = str | int | float | bool


def value_of(value: object) -> Value:
    kind = value.WhichOneof("value")  # type: ignore[attr-defined]
    found: Value = getattr(value, kind)
    return found


def attributes(span: Span) -> dict[str, Value]:
    return {entry.key: value_of(entry.value) for entry in span.attributes}


@dataclass
class Receiver:
    """`answer` gives the status of each request; None: it never answers."""

    port: int = 0
    answer: Callable[[], int | None] = lambda: 200
    delay_s: float = 0.0
    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    heads: list[str] = field(default_factory=list)
    asked: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0])
        body = await reader.readexactly(length)
        self.heads.append(head)
        self.asked += 1
        status = self.answer()
        await asyncio.sleep(self.delay_s)
        if status is None:
            await reader.read()  # until the other side gives up
        else:
            if status == 200:
                self._take(body)
            writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)
        writer.close()

    def _take(self, body: bytes) -> None:
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {entry.key: value_of(entry.value) for entry in resource_spans.resource.attributes}
            self.services.add(str(about["service.name"]))
            for scope_spans in resource_spans.scope_spans:
                self.spans += scope_spans.spans


@asynccontextmanager
async def receiving(
    answer: Callable[[], int | None] = lambda: 200, *, delay_s: float = 0.0
) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer=answer, delay_s=delay_s)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver
        for writer in receiver.writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
