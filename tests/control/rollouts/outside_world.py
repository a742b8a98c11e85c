"""A small HTTP server on loopback that answers what a test says, and remembers what it was sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sent:
    line: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Server:
    """`answer`: status and body of the next replies; None = it never answers."""

    answer: Callable[[Sent], tuple[int, bytes] | None]
    port: int = 0
    sent: list[Sent] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def outside_server(answer: Callable[[Sent], tuple[int, bytes] | None]) -> AsyncIterator[Server]:
    made = Server(answer)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode()[:-4].split("\r\n")
                headers = {name.lower(): value for name, value in (text.split(": ", 1) for text in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                sent = Sent(line, headers, body)
                made.sent.append(sent)
                reply = made.answer(sent)
                if reply is None:
                    await reader.read()  # until the client gives up
                    break
                status, content = reply
                where = f"location: {made.url}/elsewhere\r\n" if 300 <= status < 400 else ""
                head = f"HTTP/1.1 {status} X\r\n{where}content-length: {len(content)}\r\n\r\n"
                writer.write(head.encode() + content)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
