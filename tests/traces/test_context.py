"""`traceparent` as the W3C recommendation has it: what is not well formed is no trace."""

import pytest

from gateway.traces.context import parse, trace_id_of, traceparent

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"


def header(version: bytes = b"00", trace: bytes = TRACE, span: bytes = SPAN, flags: bytes = b"01") -> bytes:
    return b"-".join((version, trace, span, flags))


@pytest.mark.parametrize(
    ("flags", "is_sampled"), [(b"00", False), (b"01", True), (b"02", False), (b"ff", True)]
)
def test_the_lowest_flag_says_whether_it_is_sampled(flags: bytes, is_sampled: bool) -> None:
    found = parse(header(flags=flags))
    assert found is not None
    assert (found.trace_id.hex().encode(), found.span_id.hex().encode()) == (TRACE, SPAN)
    assert found.is_sampled is is_sampled


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parse(header(version=b"cc") + b"-more") == parse(header())


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        b"",
        header(version=b"ff"),
        header() + b"-more",
        header() + b"\n",
        header(trace=b"0" * 32),
        header(span=b"0" * 16),
        header(trace=TRACE.upper()),
        header(trace=TRACE[:-1]),
        header(flags=b"1"),
        header(version=b"cc") + b"more",
        b" " + header(),
    ],
)
def test_what_is_not_well_formed_is_no_context(wrong: bytes | None) -> None:
    assert parse(wrong) is None
    assert trace_id_of(wrong) == ""


def test_what_is_written_is_read_back() -> None:
    found = parse(traceparent(b"t" * 16, b"s" * 8))
    assert found is not None
    assert (found.trace_id, found.span_id, found.is_sampled) == (b"t" * 16, b"s" * 8, True)
