"""A static model server with the reply head of Turnout's workers, as cheap as Python can be.

Run by the benchmark as `python -m loadtests.backend [--reply-bytes=N] PORT=VERSION ...`; not a model. It
echoes the attempt token that gateways verify, so that nothing of a gateway's work is left out. `GET /handled`
on any port answers how many requests it has answered on all of them. `--reply-bytes`: zeros as the reply.
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


class Backend(asyncio.BufferedProtocol):
    """Whole requests in, the same reply out; bodies are counted and never kept."""

    handled = 0
    body = BODY
    buffer = bytearray(256 * 1024)  # of all connections: what is in it is used at once

    def __init__(self, version: bytes) -> None:
        self.version = version
        self.pending = b""  # a part of a head
        self.head = b""  # of the request whose body is coming
        self.missing_bytes = 0  # of that body
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        swallowed = min(self.missing_bytes, nbytes)
        if swallowed:
            self.missing_bytes -= swallowed
            if self.missing_bytes == 0:
                self._answer(self.head)
            if swallowed == nbytes:
                return
        self._read_heads(self.pending + bytes(memoryview(self.buffer)[swallowed:nbytes]))

    def _read_heads(self, data: bytes) -> None:
        while (end := data.find(b"\r\n\r\n") + 4) >= 4:
            length = _LENGTH.search(data, 0, end - 2)
            following = end + (int(length[1]) if length else 0)
            if following > len(data):
                self.head = data[:end]
                self.missing_bytes = following - len(data)
                data = b""
                break
            self._answer(data[:end])
            data = data[following:]
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
        body = Backend.body
        head = b"%bcontent-length: %d\r\n\r\n" % (head, len(body))
        if body is BODY:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))


async def serve(listeners: list[tuple[int, bytes]]) -> None:
    """`listeners`: port and version of each."""
    loop = asyncio.get_running_loop()
    for port, version in listeners:
        await loop.create_server(partial(Backend, version), "127.0.0.1", port, backlog=2048)
    await asyncio.Event().wait()


if __name__ == "__main__":
    pairs = [argument.split("=") for argument in sys.argv[1:]]
    if pairs[0][0] == "--reply-bytes":
        Backend.body = bytes(int(pairs.pop(0)[1]))
    uvloop.run(serve([(int(port), version.encode()) for port, version in pairs]))
