"""A request as the ASGI application is told of it.

Must not know: how it was read, how it is answered. Called by `protocol` for what it does not serve itself.
"""

from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.wire.reading import Received


def scope_of(connection: HttpToolsProtocol, received: Received) -> Any:
    path, _, query = received.url.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": connection.asgi_version, "spec_version": "2.3"},
        "http_version": "1.1",
        "server": connection.server,
        "client": connection.client,
        "scheme": "http",
        "method": received.method.decode("ascii"),
        "root_path": "",
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "headers": list(received.headers.items()),
        "state": connection.app_state.copy(),
    }
