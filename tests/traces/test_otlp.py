"""What is written by hand is what OpenTelemetry's own classes read."""

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway.traces.otlp import encode_span, request_of
from gateway.traces.span import Attribute, Kind, Span
from tests.traces.receiver import attributes, value_of

VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.dictionaries(NAMES, VALUES, max_size=6), NAMES, st.text("abc", max_size=300))
def test_every_field_of_a_span_is_read_back(about: dict[str, Attribute], name: str, error: str) -> None:
    root = Span(name, Kind.SERVER, about)
    root.trace_state = "vendor=1"
    span = root.child(name, Kind.CLIENT, about)
    span.error = error
    span.links = [(b"t" * 16, b"s" * 8)]
    span.end_ns = span.start_ns + 5
    body = request_of([encode_span(root), encode_span(span)], about | {"a": 1}, scope="turnout", version="2")
    (resource_spans,) = ExportTraceServiceRequest.FromString(body).resource_spans
    told = {entry.key: value_of(entry.value) for entry in resource_spans.resource.attributes}
    assert told == about | {"a": 1}
    (scope_spans,) = resource_spans.scope_spans
    assert (scope_spans.scope.name, scope_spans.scope.version) == ("turnout", "2")
    first, second = scope_spans.spans
    assert not first.parent_span_id
    assert (second.trace_id, second.parent_span_id) == (first.trace_id, first.span_id)
    assert second.span_id != first.span_id
    assert (second.name, second.kind, second.trace_state) == (name, 3, "vendor=1")
    assert (second.start_time_unix_nano, second.end_time_unix_nano) == (span.start_ns, span.end_ns)
    assert attributes(second) == about
    assert [(link.trace_id, link.span_id) for link in second.links] == span.links
    assert (second.status.code, second.status.message) == ((2, error) if error else (0, ""))
    assert second.flags == 1


def test_a_bool_stays_one() -> None:
    span = Span("a", Kind.INTERNAL, {"yes": True, "one": 1})
    request = ExportTraceServiceRequest.FromString(request_of([encode_span(span)], {}, scope="", version=""))
    found = attributes(request.resource_spans[0].scope_spans[0].spans[0])
    assert found["yes"] is True
    assert found["one"] == 1
