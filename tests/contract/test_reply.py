"""What a worker writes as its usual answer is what a gateway recognises; one byte off, and it is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.reply import match_plain, plain_head

TOKENS = st.from_regex(rb"[0-9a-f]{1,16};[0-9a-f]{12}", fullmatch=True)
LINES = st.binary(min_size=1, max_size=40).map(lambda line: bytes(32 + byte % 95 for byte in line))


def whole(head: bytes, body: bytes) -> bytes:
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)


@given(TOKENS, st.integers(0, 10**9), st.none() | LINES, st.binary(max_size=50))
def test_a_gateway_reads_what_a_worker_wrote(
    attempt: bytes, worker_us: int, output: bytes | None, body: bytes
) -> None:
    data = whole(plain_head(attempt=attempt, version=b"1", worker_us=worker_us, output=output), body)
    found = match_plain(data)
    assert found is not None
    assert (found[1], int(found[2]), found[3], int(found[4])) == (attempt, worker_us, output, len(body))
    assert data[found.end() :] == body


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"200 OK", b"201 Created"),
        (b"turnout-attempt", b"x-attempt"),
        (b"content-length: 2", b"content-length: -2"),
        (b"content-length: 2", b"connection: close\r\ncontent-length: 2"),
        (b"content-length: 2", b"content-length: 2\r\ncontent-length: 3"),
        (b"\r\n\r\n", b"\n\n"),
    ],
)
def test_what_differs_is_left_to_the_parser(old: bytes, new: bytes) -> None:
    data = whole(plain_head(attempt=b"1;abcdefabcdef", version=b"1", worker_us=5, output=b"7"), b"{}")
    assert match_plain(data.replace(old, new)) is None
