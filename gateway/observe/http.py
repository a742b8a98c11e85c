"""The metrics port: `GET /metrics` and nothing else, with the deadlines and limits of every other port.

Called by the parent of the gateway processes. It knows a callable that gives the state, not where from.
"""

import socket
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.observe.exposition import CONTENT_TYPE, render
from gateway.observe.state import MetricsState
from gateway.wire.limits import Limits
from gateway.wire.protocol import HttpProtocol
from gateway.wire.server import HttpServer

_LIMITS = Limits(head_bytes=8 * 1024, headers=50, body_bytes=1024)

Source = Callable[[], Awaitable[MetricsState]]


def metrics_app(source: Source) -> Starlette:
    async def metrics(_: Request) -> Response:
        return Response(render(await source()), media_type=None, headers={"content-type": CONTENT_TYPE})

    return Starlette(routes=[Route("/metrics", metrics, methods=["GET"])])


async def serve_metrics(sock: socket.socket, source: Source) -> HttpServer:
    """Serve on a bound socket; end it with `await server.drain(grace_s=0, deadline_s=1)`."""
    server = HttpServer(HttpProtocol, metrics_app(source), limits=_LIMITS)
    await server.start(sock)
    return server
