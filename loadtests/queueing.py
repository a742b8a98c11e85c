"""A model server that needs a fixed time for each request, one after the other, and no CPU for it.

Run by the benchmark as `python -m loadtests.queueing RUN_MS PORT ...`; not a model. Each port is a worker of
its own: requests of all its connections wait for their turn, as for a model that runs one at a time. So
capacity is known exactly, on any machine. `POST /run` with a number of milliseconds as body changes a
worker's time.
"""

import asyncio
import re
import sys
from functools import partial
from typing import cast

import uvloop

from gateway.contract.reply import plain_head
from loadtests.backend import BODY, DIGEST

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_ATTEMPT = re.compile(rb"\r\nturnout-attempt: *([!-~]+)\r\n")


class Model:
    """The time that a run takes, and when the last one that was accepted will have ended."""

    def __init__(self, run_ms: float) -> None:
        self.run_s = run_ms / 1000
        self.free_at = 0.0


class Connection(asyncio.Protocol):
    def __init__(self, model: Model) -> None:
        self.model = model
        self.loop = asyncio.get_running_loop()
        self.pending = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        data = self.pending + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(data, 0, end + 2)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(data) < whole:
                break
            self._take(data[:whole], data[end + 4 : whole])
            data = data[whole:]
        self.pending = data

    def _take(self, request: bytes, body: bytes) -> None:
        if request.startswith(b"POST /run"):
            self.model.run_s = float(body) / 1000
        if request.startswith((b"POST /run", b"GET ")):
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        attempt = _ATTEMPT.search(request)
        came = self.loop.time()
        self.model.free_at = ended = max(came, self.model.free_at) + self.model.run_s
        self.loop.call_at(ended, self._answer, attempt[1] if attempt else b"0", came)

    def _answer(self, attempt: bytes, came: float) -> None:
        head = plain_head(
            attempt=b"%b;%b" % (attempt, DIGEST[:12].encode()),
            version=b"1",
            worker_us=int((self.loop.time() - came) * 1e6),
            output=b"7",
        )
        self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(BODY), BODY))


async def serve(run_ms: float, ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(partial(Connection, Model(run_ms)), "127.0.0.1", port, backlog=2048)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(float(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
