"""Workers that die, hang, lie or answer late: another one answers, or the client hears what happened."""

import asyncio
import gzip
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from random import Random

import orjson
import pytest

from gateway.contract import keys
from gateway.upstream.connection import Failure
from loadtests.client import Load
from tests.dataplane.conftest import Turnout
from tests.faults.conftest import PATH, begin, proxied, request
from tests.proxy import End, Proxy, Way, Ways
from tests.scripted import DIGEST, Call, Script, double, doubled, hang, until_closed, usual
from tests.sockets import Raw, ask, eventually, free_port
from tests.upstream.test_connection import GARBAGE, Make, bench, framed
from tests.workers import models
from tests.workers.processes import Running, infer_body, register, start

__all__ = ["bench"]

# -- answers that are none ----------------------------------------------------------------------------------


async def test_trailers_of_an_answer_never_become_its_headers(bench: Make) -> None:
    async def told_late(call: Call) -> None:
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        call.writer.write(head + b"turnout-attempt: %b;%b\r\n\r\n" % (call.token, DIGEST[:12].encode()))

    assert await (await bench(told_late)).ask() is Failure.MISMATCH


ENDLESS = {
    "trailers": b"2\r\n{}\r\n0\r\n" + b"".join(b"x-%d: b\r\n" % n for n in range(100_000)),
    "one trailer": b"2\r\n{}\r\n0\r\nx-a: " + b"b" * 800_000,
    "a chunk's extension": b"2;a=" + b"b" * 800_000,
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_an_answer_of_endless_framing_is_garbage(bench: Make, kind: str) -> None:
    async def endless(call: Call) -> None:
        call.writer.write(framed(call, b"transfer-encoding: chunked\r\n", ENDLESS[kind]))
        await until_closed(call)

    assert await (await bench(endless)).ask() is Failure.GARBAGE
