"""A small server on the wire protocol: `/echo` is served by the protocol itself, the rest by an app."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import pytest

from gateway.wire.limits import Limits
from gateway.wire.protocol import HttpProtocol
from gateway.wire.replies import STATUS_LINE
from gateway.wire.server import HttpServer
from tests.sockets import free_socket

Start = Callable[..., Awaitable[HttpServer]]


class Echo(HttpProtocol):
    """Answers at once with what it was given; `held` requests wait for the test."""

    held: list["Echo"]
    gone: list["Echo"]

    def serve(self, url: bytes, headers: dict[bytes, bytes], body: bytes) -> bool:
        if url == b"/hold":
            self.held.append(self)
            return True
        if url != b"/echo":
            return False
        shown = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        said = {"headers": shown, "body": body.decode("latin-1")}
        self.reply(STATUS_LINE[200] + b"content-type: application/json\r\n", orjson.dumps(said))
        return True

    def client_gone(self) -> None:
        self.gone.append(self)


async def app(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    body = f"app {scope['method']} {scope['path']} {message['body'].decode()}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def serve() -> AsyncIterator[Start]:
    servers: list[HttpServer] = []

    async def start(limits: Limits | None = None) -> HttpServer:
        protocol = type("Echoing", (Echo,), {"held": [], "gone": []})
        server = HttpServer(protocol, app, limits=limits or Limits())
        await server.start(free_socket())
        servers.append(server)
        return server

    yield start
    for server in servers:
        for connection in list(server.connections):
            connection.transport.abort()
        await server.drain(grace_s=0, deadline_s=1)
