"""Which HTTP requests come near the control API at all: a pure ASGI middleware in front of everything.

Loopback needs no key, so a web page in the operator's browser must not be able to reach it: an unknown Host
is refused (DNS rebinding), so is a foreign Origin, and whatever changes something must come as JSON or bytes,
which a page of another site can send only after a preflight that this API never grants.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.contract.errors import CallerError
from gateway.control.answers import answer
from gateway.control.settings import LOOPBACK_NAMES

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_BODY_TYPES = frozenset({"application/json", "application/octet-stream"})


class Guard:
    """`allowed_hosts` are names without ports, in addition to those of loopback."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = LOOPBACK_NAMES | {name.lower() for name in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope["method"], scope["headers"])
            except CallerError as error:
                await answer(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        values: dict[bytes, list[str]] = {}
        for name, value in headers:
            values.setdefault(name, []).append(value.decode("latin-1"))
        hosts = values.get(b"host", [])
        if len(hosts) != 1 or _name_of(hosts[0]) not in self._hosts:
            raise CallerError(
                "bad_request",
                "the Host header does not name this control API: call it by the address it was started with",
            )
        for origin in values.get(b"origin", []):
            if _name_of(urlsplit(origin).netloc) not in self._hosts:
                raise CallerError("refused", "pages of other sites may not call the control API")
        if method not in _SAFE_METHODS:
            self._check_body_type(values)

    @staticmethod
    def _check_body_type(values: dict[bytes, list[str]]) -> None:
        types = [value.partition(";")[0].strip().lower() for value in values.get(b"content-type", [])]
        if len(types) != 1 or types[0] not in _BODY_TYPES:
            raise CallerError("unsupported_media_type", "send the body with content-type application/json")
        if values.get(b"content-encoding", ["identity"]) != ["identity"]:
            raise CallerError("unsupported_media_type", "send the body without content-encoding")


def _name_of(authority: str) -> str | None:
    """The host of `name`, `name:port` or `[v6]:port`; None for anything else."""
    try:
        parts = urlsplit("//" + authority)
        clean = parts.netloc == authority and "@" not in authority and parts.port != 0
        return parts.hostname if clean else None
    except ValueError:
        return None
