"""What traces cost: CPU of a request through the gateway's own objects, traces off, unsampled and sampled.

As `hotpath`, without sockets and with warm caches. Beside it: what one span costs to end and to encode, and
the same span by OpenTelemetry's SDK where it is installed (`pip install opentelemetry-sdk`; its encoding is
left out). Run: `python -m loadtests.traces`.
"""

import gc
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import uvloop

from gateway.traces.export import BOUND, Exporter
from gateway.traces.otlp import encode_span
from gateway.traces.settings import TraceSettings
from gateway.traces.span import Attribute, Kind, Span
from loadtests.hotpath import EACH, NO_TRACES, Gateway, answer, cpu_us, request

ON = TraceSettings(otlp_endpoint="http://127.0.0.1:4318")
PARENT = "traceparent: 00-4bf92f3577b34da6a3ce929d{:08x}-00f067aa0ba902b7-{}\r\n"
ABOUT: dict[str, Attribute] = {
    "http.response.status_code": 200,
    "turnout.model": "digits",
    "turnout.prediction_id": "0" * 36,
    "turnout.reason": "weight",
    "turnout.revision": 42,
    "turnout.version": "1",
}
SPANS = 4_000  # in a round: fewer than the buffer holds
ROUNDS = 10


def asked_with(flags: str) -> list[bytes]:
    return [request(number, PARENT.format(number, flags)) for number in range(EACH)]


def request_us(directory: Path, traces: TraceSettings, requests: list[bytes]) -> float:
    gateway = Gateway(directory, traces=traces)
    exporter = gateway.process.exporter

    def forget() -> None:
        gateway.forget()
        if exporter is not None:
            exporter.waiting.clear()

    for data in requests:
        gateway.ask(data)
    forget()
    gc.freeze()
    return cpu_us(gateway.ask, forget, requests) - cpu_us(lambda data: answer(b"turnout-attempt: 10a\r\n"))


def each_us(work: Callable[[], object]) -> float:
    least = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(SPANS):
            work()
        least = min(least, (time.process_time() - began) / SPANS * 1e6)
    return least


def span_us() -> dict[str, float]:
    exporter = Exporter(ON, {})
    assert SPANS < BOUND

    def make() -> None:
        exporter.add(Span("attempt", Kind.CLIENT, {**ABOUT}))
        exporter.waiting.clear()

    span = Span("attempt", Kind.CLIENT, ABOUT, parent_id=b"12345678")
    return {"make and end a span": each_us(make), "encode a span": each_us(lambda: encode_span(span))}


def sdk_us() -> float | None:
    """One span by OpenTelemetry's SDK, in its batch processor; None where it is not installed."""
    try:
        trace = import_module("opentelemetry.sdk.trace")
        export = import_module("opentelemetry.sdk.trace.export")
    except ImportError:
        return None

    class Nowhere:
        def export(self, spans: object) -> object:
            return export.SpanExportResult.SUCCESS

        def shutdown(self) -> None: ...

    provider = trace.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.BatchSpanProcessor(Nowhere(), max_queue_size=SPANS * ROUNDS))
    tracer = provider.get_tracer("bench")
    found = each_us(lambda: tracer.start_span("attempt", attributes=ABOUT).end())
    provider.shutdown()
    return found


async def measure(directory: Path) -> None:
    plain = [request(number) for number in range(EACH)]
    found = {
        "a request, traces off": request_us(directory, NO_TRACES, plain),
        "traces on, a request without a trace, share 0": request_us(directory, ON, plain),
        "traces off, a trace that is not sampled": request_us(directory, NO_TRACES, asked_with("00")),
        "traces on, a trace that is not sampled": request_us(directory, ON, asked_with("00")),
        "traces on, a sampled request: two spans": request_us(directory, ON, asked_with("01")),
        **span_us(),
    }
    if (sdk := sdk_us()) is not None:
        found["one span by OpenTelemetry's SDK"] = sdk
    print(f"{'step':<48} CPU µs")
    for name, each in found.items():
        print(f"{name:<48} {each:6.2f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        uvloop.run(measure(Path(directory)))
