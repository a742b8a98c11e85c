"""A head is believed only if every program reads it in the same way."""

import pytest

from gateway.wire.head import doubt, excess, is_single
from gateway.wire.limits import Limits

HOST = {b"host": b"x"}
CHUNKED = {**HOST, b"transfer-encoding": b"chunked"}


@pytest.mark.parametrize("fields", [HOST, CHUNKED, {**HOST, b"transfer-encoding": b"Chunked"}])
def test_a_usual_head_leaves_no_doubt(fields: dict[bytes, bytes]) -> None:
    assert doubt(fields, is_1_1=True, doubled=b"") is None


@pytest.mark.parametrize(
    ("fields", "is_1_1", "doubled", "said"),
    [
        ({}, True, b"", "needs a Host"),
        (CHUNKED, False, b"", "needs HTTP/1.1"),
        ({**CHUNKED, b"content-length": b"3"}, True, b"", "nothing else"),
        ({**HOST, b"transfer-encoding": b"gzip, chunked"}, True, b"", "nothing else"),
        (HOST, True, b"turnout-version", "turnout-version is given twice"),
    ],
)
def test_what_two_programs_could_read_in_two_ways_is_refused(
    fields: dict[bytes, bytes], is_1_1: bool, doubled: bytes, said: str
) -> None:
    refusal = doubt(fields, is_1_1=is_1_1, doubled=doubled)
    assert refusal is not None
    assert refusal[0] == "bad_request"
    assert said in refusal[1]


def test_http_1_0_needs_no_host() -> None:
    assert doubt({}, is_1_1=False, doubled=b"") is None


def test_a_head_may_be_as_large_as_its_limits_and_not_larger() -> None:
    limits = Limits(head_bytes=100, headers=3)
    assert excess(b"/" * 80, {b"host": b"x" * 12}, lines=3, limits=limits) is None
    for url, lines in ((b"/" * 81, 3), (b"/", 4)):
        refusal = excess(url, {b"host": b"x" * 12}, lines=lines, limits=limits)
        assert refusal is not None
        assert refusal[0] == "head_too_large"


def test_headers_that_decide_something_are_single() -> None:
    assert [name for name in (b"host", b"turnout-unit", b"accept", b"cookie") if is_single(name)] == [
        b"host",
        b"turnout-unit",
    ]
