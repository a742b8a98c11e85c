"""A static model server with the reply head of Turnout's workers, as cheap as Python can be.

Run by the benchmark as `python -m loadtests.backend PORT=VERSION ...`; not a model. It echoes the attempt
token that gateways verify, so that nothing of a gateway's work is left out. `GET /handled` on any port
answers how many requests it has answered on all of them.
"""

import asyncio
import re
import sys
from functools import partial
from typing import cast

import uvloop

from gateway.contract.reply import plain_head

DIGEST = "0" * 64  # of the artefact that there is not
BODY = b'{"model_name":"bench","outputs":[{"name":"label","datatype":"INT64","shape":[1],"data":[7]}]}'
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_ATTEMPT = re.compile(rb"\r\nturnout-attempt: *([!-~]+)\r\n")


class Backend(asyncio.Protocol):
    """Whole requests in, the same reply out."""

    handled = 0

    def __init__(self, version: bytes) -> None:
        self.version = version
        self.pending = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        data = self.pending + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(data, 0, end + 2)
            end += 4 + (int(length[1]) if length else 0)
            if len(data) < end:
                break
            self._answer(data)
            data = data[end:]
        self.pending = data

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"GET /handled"):
            body = b"%d" % Backend.handled
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            return
        Backend.handled += 1
        attempt = _ATTEMPT.search(request)
        head = plain_head(
            attempt=b"%b;%b" % (attempt[1] if attempt else b"0", DIGEST[:12].encode()),
            version=self.version,
            worker_us=1,
            output=b"7",
        )
        self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(BODY), BODY))


async def serve(listeners: list[tuple[int, bytes]]) -> None:
    """`listeners`: port and version of each."""
    loop = asyncio.get_running_loop()
    for port, version in listeners:
        await loop.create_server(partial(Backend, version), "127.0.0.1", port, backlog=2048)
    await asyncio.Event().wait()


if __name__ == "__main__":
    pairs = [argument.split("=") for argument in sys.argv[1:]]
    uvloop.run(serve([(int(port), version.encode()) for port, version in pairs]))
