"""Whole requests come through, once and in order; everything ambiguous, endless or slow is refused."""

import asyncio
import resource

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.wire.limits import Limits
from gateway.wire.plain import MOST_BYTES, MOST_KNOWN, QUESTIONS, Head, Heads, Shape, read_plain
from gateway.wire.protocol import HttpProtocol
from tests.sockets import PATIENCE_S, Raw, ask, eventually
from tests.wire.conftest import Start

HOST = b"Host: x\r\n"


def post(body: bytes = b"abc", *, path: bytes = b"/echo", more: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n" % (path, more, len(body))
    return head + body


async def test_a_whole_request_in_one_piece_is_served(serve: Start) -> None:
    server = await serve()
    status, headers, body = await ask(server.port, post(more=b"X-Unit: u1\r\n"))
    assert (status, headers["content-length"]) == (200, str(len(body)))
    assert orjson.loads(body) == {
        "headers": {"host": "x", "x-unit": "u1", "content-length": "3"},
        "body": "abc",
    }


async def test_byte_by_byte_gives_the_same_as_in_one_piece(serve: Start) -> None:
    server = await serve()
    whole = await ask(server.port, post(more=b"X-Unit: u1\r\n"))
    raw = await Raw.open(server.port)
    for byte in post(more=b"X-Unit: u1\r\n"):
        raw.send(bytes([byte]))
        await raw.writer.drain()
    assert await raw.reply() == whole
    raw.close()


async def test_chunked_bodies_are_joined(serve: Start) -> None:
    server = await serve()
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _, body = await ask(server.port, head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (status, orjson.loads(body)["body"]) == (200, "abcde")


async def test_what_the_protocol_does_not_take_goes_to_the_app(serve: Start) -> None:
    server = await serve()
    raw = await Raw.open(server.port)
    raw.send(post(path=b"/other%20path?x=1"))
    assert await raw.reply() == (200, {"content-length": "24"}, b"app POST /other path abc")
    raw.send(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await raw.reply())[2] == b"app GET /echo "
    raw.close()


async def test_a_thousand_pipelined_requests_are_answered_in_order(serve: Start) -> None:
    server = await serve()
    raw = await Raw.open(server.port)
    raw.send(b"".join(post(str(number).encode()) for number in range(1000)))
    answers = [orjson.loads((await raw.reply())[2])["body"] for _ in range(1000)]
    assert answers == [str(number) for number in range(1000)]
    raw.close()


async def test_a_connection_too_many_is_told_and_those_before_it_are_served(serve: Start) -> None:
    server = await serve(Limits(connections=2))
    first, second = await Raw.open(server.port), await Raw.open(server.port)
    await eventually(lambda: len(server.connections) == 2)
    third = await Raw.open(server.port)
    status, headers, body = await third.reply()
    assert (status, headers["turnout-error"], headers["retry-after"]) == (503, "overloaded", "1")
    assert headers["connection"] == "close"
    assert b"Too many connections" in body
    await eventually(lambda: len(server.connections) == 2)
    for raw in (first, second):
        raw.send(post())
        assert (await raw.reply())[0] == 200
    first.close()
    await eventually(lambda: len(server.connections) == 1)
    assert (await ask(server.port, post()))[0] == 200
    assert server.ticker.turned_away == 1
    for raw in (second, third):
        raw.close()


async def test_there_are_never_more_connections_than_files_to_open(serve: Start) -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    server = await serve(Limits(connections=10 * files))
    assert server.protocol.limits.connections == files * 3 // 4


async def test_a_pipelined_request_waits_for_the_one_before_it(serve: Start) -> None:
    server = await serve()
    raw = await Raw.open(server.port)
    raw.send(post(path=b"/hold") + post(b"second"))
    held = server.protocol.held  # type: ignore[attr-defined]
    await eventually(lambda: held)
    with pytest.raises(TimeoutError):
        await raw.reply(within_s=0.1)
    held[0].reply_error("no_workers", "first")
    assert (await raw.reply())[0] == 503
    assert orjson.loads((await raw.reply())[2])["body"] == "second"
    raw.close()


SMUGGLING = {
    "length and chunked": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    "two lengths that differ": b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "the same length twice": b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": b"Content-Length: 3, 3\r\n\r\nabc",
    "a negative length": b"Content-Length: -3\r\n\r\nabc",
    "a length with a sign": b"Content-Length: +3\r\n\r\nabc",
    "a length in hex": b"Content-Length: 0x3\r\n\r\nabc",
    "another coding before chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "almost chunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "space before the colon": b"Content-Length : 3\r\n\r\nabc",
    "a folded header": b"X-A: b\r\n c\r\nContent-Length: 3\r\n\r\nabc",
    "a bare line feed": b"X-A: b\nContent-Length: 3\r\n\r\nabc",
    "a bare carriage return": b"X-A: b\rc\r\nContent-Length: 3\r\n\r\nabc",
    "a NUL in a value": b"X-A: b\x00c\r\nContent-Length: 3\r\n\r\nabc",
    "an empty header name": b": b\r\nContent-Length: 3\r\n\r\nabc",
    "a space in a header name": b"X A: b\r\nContent-Length: 3\r\n\r\nabc",
    "two hosts": b"Host: y\r\nContent-Length: 3\r\n\r\nabc",
    "a header of ours twice": b"turnout-unit: a\r\nturnout-unit: b\r\nContent-Length: 3\r\n\r\nabc",
    "a bad chunk size": b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n",
    "a chunk longer than said": b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("shape", SMUGGLING)
async def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_closed(
    serve: Start, shape: str
) -> None:
    server = await serve()
    raw = await Raw.open(server.port)
    raw.send(b"POST /echo HTTP/1.1\r\n" + HOST + SMUGGLING[shape] + post(b"smuggled"))
    said = await raw.end()
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"smuggled" not in said
    assert b'{"error":' in said
    raw.close()


async def test_a_request_without_host_is_refused(serve: Start) -> None:
    server = await serve()
    status, headers, _ = await ask(server.port, b"POST /echo HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
    assert (status, headers["turnout-error"], headers["connection"]) == (400, "bad_request", "close")


async def test_chunked_in_http_1_0_is_refused(serve: Start) -> None:
    server = await serve()
    sent = b"POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert (await ask(server.port, sent))[0] == 400


async def test_bytes_after_connection_close_are_dropped(serve: Start) -> None:
    server = await serve()
    raw = await Raw.open(server.port)
    raw.send(post(b"first", more=b"Connection: close\r\n") + post(b"second"))
    said = await raw.end()
    assert said.count(b"HTTP/1.1 200") == 1
    assert b"second" not in said


@pytest.mark.parametrize(
    "head",
    [
        HOST + b"X-A: b\r\n" * 101,
        HOST + b"".join(b"X-%d: b\r\n" % number for number in range(50_000)),
        HOST + b"X-A: " + b"b" * 40_000 + b"\r\n",
        HOST + b"X-A: " + b"b" * 8_000_000,
    ],
    ids=["101 headers", "50,000 headers", "40 KB in one", "8 MB without end"],
)
async def test_a_head_over_the_limit_is_refused(serve: Start, head: bytes) -> None:
    server = await serve()
    raw = await Raw.open(server.port)
    raw.send(b"POST /echo HTTP/1.1\r\n" + head + b"Content-Length: 0\r\n\r\n")
    assert (await raw.reply())[0] == 431
    raw.reset()


async def test_a_body_over_the_limit_is_refused_before_it_is_read(serve: Start) -> None:
    server = await serve(Limits(body_bytes=1000))
    raw = await Raw.open(server.port)
    raw.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n")
    assert (await raw.reply())[0] == 413
    raw.close()


async def test_an_endless_chunked_body_is_cut_off_at_the_limit(serve: Start) -> None:
    server = await serve(Limits(body_bytes=100_000))
    raw = await Raw.open(server.port)
    raw.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    raw.send(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
    for _ in range(20):
        raw.send(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
    assert (await raw.reply())[0] == 413
    raw.reset()


SLOW = {
    "silent": b"",
    "half a head": b"POST /echo HTTP/1.1\r\nHo",
    "half a body": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW.keys())
async def test_a_client_that_stops_sending_is_closed_at_its_deadline(serve: Start, sent: bytes) -> None:
    server = await serve(Limits(head_s=0.3, body_s=0.3))
    raw = await Raw.open(server.port)
    raw.send(sent)
    said = await raw.end()
    assert said == b"" if not sent else said.startswith(b"HTTP/1.1 408 ")


async def test_a_byte_now_and_then_does_not_renew_the_deadline(serve: Start) -> None:
    server = await serve(Limits(head_s=0.5))
    raw = await Raw.open(server.port)

    async def drip() -> None:
        for byte in b"POST /echo HTTP/1.1\r\nX-Long-Header-Name: " + b"x" * 1000:
            raw.send(bytes([byte]))
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    assert (await raw.reply())[0] == 408
    dripping.cancel()
    await asyncio.gather(dripping, return_exceptions=True)
    raw.reset()


async def test_an_idle_connection_is_closed_after_keep_alive(serve: Start) -> None:
    server = await serve(Limits(keep_alive_s=0.2))
    raw = await Raw.open(server.port)
    raw.send(post())
    await raw.reply()
    assert await raw.end() == b""


async def test_silent_connections_do_not_take_anything_from_others(serve: Start) -> None:
    server = await serve()
    silent = [await Raw.open(server.port) for _ in range(300)]
    for number in range(50):
        assert (await ask(server.port, post(str(number).encode())))[0] == 200
    for raw in silent:
        raw.reset()


async def test_a_client_that_leaves_while_waiting_is_noticed_at_once(serve: Start) -> None:
    server = await serve()
    raw = await Raw.open(server.port)
    raw.send(post(path=b"/hold"))
    await eventually(lambda: server.protocol.held)  # type: ignore[attr-defined]
    raw.reset()
    await eventually(lambda: server.protocol.gone)  # type: ignore[attr-defined]


async def test_expect_100_continue_is_answered_before_the_body(serve: Start) -> None:
    server = await serve()
    raw = await Raw.open(server.port)
    raw.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert await raw.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.send(b"abc")
    assert (await raw.reply())[0] == 200
    raw.close()


async def test_a_drain_finishes_what_is_in_flight_and_reads_what_was_sent(serve: Start) -> None:
    server = await serve()
    waiting = await Raw.open(server.port)
    waiting.send(post(path=b"/hold"))
    held = server.protocol.held  # type: ignore[attr-defined]
    await eventually(lambda: held)
    draining = asyncio.create_task(server.drain(grace_s=1.0, deadline_s=PATIENCE_S))
    await eventually(lambda: server.ticker.draining)
    status, headers, _ = await ask(server.port, post(b"late but within the grace"))
    assert (status, headers["connection"]) == (200, "close")
    held[0].reply_error("no_workers", "finished")
    assert (await waiting.reply())[0] == 503
    waiting.close()
    assert await draining


HEADER_NAMES = st.sampled_from(
    ["Host", "host", "X-A", "Content-Type", "Connection", "Expect", "turnout-unit"]
)
VALUES = st.text(st.sampled_from("ab1 \t,;=\x00\x7f\xe9\r\n"), max_size=8)
LENGTHS = st.sampled_from(["3", "03", "+3", " 3", "4", "2", "3 ", "", "3,3"])


@given(st.lists(st.tuples(HEADER_NAMES, VALUES), max_size=4), LENGTHS, st.booleans())
@settings(max_examples=400, deadline=None)
def test_the_shortcut_never_reads_a_request_otherwise_than_the_parser(
    pairs: list[tuple[str, str]], length: str, has_host: bool
) -> None:
    lines = [f"{name}: {value}" for name, value in pairs] + [f"Content-Length: {length}"]
    if has_host:
        lines.insert(0, "Host: x")
    sent = ("POST /echo HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\nabc").encode("latin-1")
    assert _seen(sent, shortcut=True) in (_seen(sent, shortcut=False), None)


@given(st.lists(st.tuples(HEADER_NAMES, VALUES), max_size=4), LENGTHS)
@settings(max_examples=400, deadline=None)
def test_a_shape_and_a_head_never_read_a_request_otherwise_than_the_parser(
    pairs: list[tuple[str, str]], length: str
) -> None:
    named = {name.lower(): (name, value) for name, value in pairs if name not in ("Connection", "Expect")}
    lines = [*({"host": ("Host", "x")} | named).values(), ("Content-Length", length)]
    sent = b"POST /echo HTTP/1.1\r\n%b\r\nabc" % b"".join(
        f"{name}: {value}\r\n".encode("latin-1") for name, value in lines
    )
    shape = Shape(tuple(name.encode() for name, _ in lines))
    expected = _seen(sent, shortcut=False)
    read = shape.read(sent, Limits())
    if read is not None:
        assert (read[1], read[2]) == expected
        again = Head(shape, read[0], read[1], Limits()).read(sent, Limits())
        assert again in (read, None)


UNITS = st.one_of(
    st.text("ab0-_ :;,\t\r\n\x7f\xff", max_size=8),
    st.sampled_from(["user 7", "user", "a\r\nx: y", "", " a", "a ", "a\nb"]),
)


@given(UNITS, UNITS, st.integers(0, 5), st.booleans())
@settings(max_examples=400, deadline=None)
def test_a_head_reads_other_values_as_the_parser_does_or_not_at_all(
    unit: str, trace: str, size: int, is_unit_first: bool
) -> None:
    def sent(unit: str, trace: str, size: int) -> bytes:
        varied = [f"turnout-unit: {unit}\r\n", f"Content-Length: {size}\r\n", f"traceparent: {trace}\r\n"]
        lines = varied if is_unit_first else varied[::-1]
        return f"POST /echo HTTP/1.1\r\nHost: x\r\n{''.join(lines)}\r\n".encode("latin-1") + b"abcde"[:size]

    first = sent("u-1", "t-1", 3)
    read = read_plain(first, Limits())
    assert read is not None
    plain, names = read
    head = Head(Shape(names), plain[0], plain[1], Limits())
    assert head.read(first, Limits()) == plain
    other = sent(unit, trace, size)
    again = head.read(other, Limits())
    assert again is None or (again[1], again[2]) == _seen(other, shortcut=False)
    assert head.read(other + b"x", Limits()) is None


def test_a_shape_is_made_when_names_come_again_and_reads_ordinary_requests() -> None:
    heads = Heads()
    sent = b"POST /a HTTP/1.1\r\nHost: x\r\nTurnout-Unit: user 7\r\nContent-Length: 2\r\n\r\n{}"
    read = read_plain(sent, Limits())
    assert read is not None
    plain, names = read
    assert heads.shape(names) is None
    shape = heads.shape(names)
    assert shape is not None
    assert shape.read(sent, Limits()) == plain
    assert shape.read(sent.replace(b"user 7", b"user  7"), Limits()) is None
    assert shape.read(sent.replace(b"Turnout-Unit", b"turnout-unit"), Limits()) is None
    assert shape.read(sent + b"x", Limits()) is None


def test_a_head_is_made_when_it_comes_again_and_fits_no_other_path_or_host() -> None:
    heads, shape = Heads(), Shape((b"Host", b"turnout-unit", b"Content-Length"))
    sent = b"POST /a HTTP/1.1\r\nHost: x\r\nturnout-unit: u1\r\nContent-Length: 2\r\n\r\n{}"
    plain = shape.read(sent, Limits())
    assert plain is not None
    assert heads.head(shape, plain, Limits()) is None
    head = heads.head(shape, plain, Limits())
    assert head is not None
    other = head.read(sent.replace(b"u1", b"u22"), Limits())
    assert other is not None
    assert other[1][b"turnout-unit"] == b"u22"
    assert plain[1][b"turnout-unit"] == b"u1"
    assert head.read(sent.replace(b"/a", b"/b"), Limits()) is None
    assert head.read(sent.replace(b"Host: x", b"Host: y"), Limits()) is None


MADE_UP = Shape((b"host", b"x", b"content-length"))


def made_up(value: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    return b"/", {b"host": b"a", b"x": value, b"content-length": b"0"}, b""


def test_a_workers_requests_are_of_one_head_whatever_their_attempts() -> None:
    heads, shape = Heads(), Shape((b"host", b"content-length", b"turnout-attempt"))

    def sent(attempt: int) -> bytes:
        head = b"POST /a HTTP/1.1\r\nhost: worker\r\ncontent-length: 2\r\nturnout-attempt: %d\r\n\r\n{}"
        return head % attempt

    plain = shape.read(sent(1), Limits())
    assert plain is not None
    assert heads.head(shape, plain, Limits()) is None  # seen once
    again = shape.read(sent(2), Limits())
    assert again is not None
    head = heads.head(shape, again, Limits())
    assert head is not None
    assert head.read(sent(3), Limits()) == shape.read(sent(3), Limits())


def test_made_up_heads_cost_no_memory_and_keep_no_other_out() -> None:
    heads = Heads()
    for number in range(10_000):
        heads.shape((b"host", b"x-%d" % number, b"content-length"))
        heads.head(MADE_UP, made_up(b"%d" % number), Limits())
    for learnt in (heads.shapes, heads.heads):
        assert len(learnt.once) <= MOST_KNOWN
        assert not learnt.made
    assert heads.shape(MADE_UP.spelled) is None
    assert heads.head(MADE_UP, made_up(b"real"), Limits()) is None
    assert heads.shape(MADE_UP.spelled) is not None
    assert heads.head(MADE_UP, made_up(b"real"), Limits()) is not None


def test_heads_that_come_twice_each_are_learnt_only_now_and_then() -> None:
    heads = Heads()
    made = set()
    for number in range(10_000):
        for _ in range(2):
            made.add(heads.head(MADE_UP, made_up(b"%d" % number), Limits()))
    assert len(made) <= MOST_KNOWN + 2 * 10_000 // QUESTIONS + 1
    assert len(heads.heads.made) == MOST_KNOWN


def test_a_long_head_is_not_learnt_since_that_would_hold_the_others_up() -> None:
    heads = Heads()
    long = made_up(b"a" * MOST_BYTES)
    assert [heads.head(MADE_UP, long, Limits()) for _ in range(3)] == [None] * 3


def _seen(sent: bytes, *, shortcut: bool) -> tuple[dict[bytes, bytes], bytes] | None:
    """What the protocol hands to `serve`, or None; without the shortcut the bytes come in two pieces."""

    class Transport(asyncio.Transport):
        def write(self, data: object) -> None: ...
        def is_closing(self) -> bool:
            return False

        def can_write_eof(self) -> bool:
            return False

        def close(self) -> None: ...
        def pause_reading(self) -> None: ...

    found: list[tuple[dict[bytes, bytes], bytes]] = []

    class Probe(HttpProtocol):
        def serve(self, url: bytes, headers: dict[bytes, bytes], body: bytes) -> bool:
            found.append((headers, body))
            return True

    loop = asyncio.new_event_loop()
    try:
        config = Config(_Asgi(), http=Probe, ws="none", lifespan="off", log_config=None)
        probe = Probe(config, ServerState(), {}, loop)
        probe.connection_made(Transport())
        if shortcut:
            if read_plain(sent, Limits()) is None:
                return None
            probe.data_received(sent)
        else:
            probe.data_received(sent[:1])
            probe.data_received(sent[1:])
    finally:
        loop.close()
    return found[0] if found else None


class _Asgi:
    async def __call__(self, scope: object, receive: object, send: object) -> None: ...
