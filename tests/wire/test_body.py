"""A body on its way comes out as it came in, and its end leaves nothing behind."""

import asyncio

import pytest

from gateway.wire.body import CRUMBS, Body, behind_head
from gateway.wire.room import Held, Room


def test_a_body_in_pieces_is_whole_and_leaves_the_next_one_nothing() -> None:
    body = Body()
    for pieces in ([b"one", b"two"], [b"", b"three"], []):
        body.begin()
        for piece in pieces:
            body.add(piece)
        assert body.size == len(b"".join(pieces))
        assert body.whole() == b"".join(pieces)


def test_crumbs_are_joined_in_their_order() -> None:
    body = Body()
    crumbs = [b"%d." % number for number in range(10 * CRUMBS)]
    for crumb in crumbs:
        body.add(crumb)
    assert len(body.chunks) <= CRUMBS + 10
    assert body.whole() == b"".join(crumbs)


def test_a_body_that_turns_out_to_be_large_is_counted_as_it_grows_until_nobody_has_it() -> None:
    room, body = Room(10), Body()
    body.add(b"small, ")
    body.hold(Held(room, 0, 0))
    body.add(b"and then large")
    assert room.used_bytes == body.size == 21
    whole = body.whole()
    assert (whole, room.used_bytes) == (b"small, and then large", 21)
    del whole
    assert room.used_bytes == 0


@pytest.mark.parametrize("is_dropped", [True, False])
async def test_a_body_asks_for_what_may_come_and_keeps_what_came(is_dropped: bool) -> None:
    room, body = Room(1000), Body()
    body.add(b"x" * 70)
    body.large_bytes = 900
    held = room.take(900, 0)
    assert held is not None
    body.hold(held)
    del held
    assert room.used_bytes == 900
    if is_dropped:
        body.drop()
    else:
        whole = body.whole()
        assert room.used_bytes == len(whole) == 70
        del whole
    assert room.used_bytes == 0


async def test_a_body_that_is_dropped_leaves_the_line_and_is_told_nothing() -> None:
    room = Room(100)
    inside, body, behind = room.take(90, 90), Body(), Body()
    told: list[Held | None] = []
    for waiting in (body, behind):
        waiting.large_bytes = 80
        waiting.wait(room, 80, told.append)
    body.drop()
    del inside
    while not told:
        await asyncio.sleep(0)
    assert [len(held or b"") for held in told] == [80]
    assert not room.line
    told.clear()
    assert room.used_bytes == 0


@pytest.mark.parametrize(
    ("data", "head"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\nbo\r\n\r\ndy", b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (b"POST / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n"),
        (b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n"),
    ],
)
def test_what_follows_a_head_is_told_apart_once_the_head_is_whole(data: bytes, head: bytes) -> None:
    found, behind = behind_head(data)
    assert (found, bytes(behind)) == (head, data[len(head) :])
