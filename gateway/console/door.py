"""What stands between a browser and the console: a pure ASGI application around it.

The control API's Guard has seen every HTTP request before. Here a websocket must come from a page of this
console (a page of another site could open one otherwise), every answer gets headers that forbid framing,
foreign scripts and foreign connections, and every browser gets its session.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.console.nonce import NONCE, new_nonce, policy
from gateway.console.sessions import Session, Sessions, session_cookie

SESSION = "turnout.session"  # the key in an ASGI scope
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


class Door:
    """`hosts` are names without ports under which browsers may call."""

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], sessions: Sessions) -> None:
        self._app = app
        self._hosts = {name.lower() for name in hosts}
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not self._is_own_page(scope):
            await receive()  # the connect
            await send({"type": "websocket.close", "code": 1008})
            return
        session = self._sessions.find(scope["headers"])
        name = None
        if session is None and scope["type"] == "http":
            name, session = self._sessions.open() if _is_page(scope) else (None, None)
        scope[SESSION], scope[NONCE] = session or Session(), new_nonce()
        allowed = (b"content-security-policy", policy(scope[NONCE]).encode())

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                cookie = [] if name is None else [(b"set-cookie", session_cookie(scope, name))]
                message = {**message, "headers": [*message.get("headers", ()), allowed, *_HEADERS, *cookie]}
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _is_own_page(self, scope: Scope) -> bool:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        try:
            page = urlsplit(origin)
            return page.netloc == host and urlsplit(f"//{host}").hostname in self._hosts
        except ValueError:
            return False


def _is_page(scope: Mapping[str, object]) -> bool:
    path = str(scope["path"])
    return "/_nicegui" not in path and "/login" not in path  # a login makes its own session
