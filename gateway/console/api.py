"""How the console speaks with the control API: as any other client, over HTTP, with the viewer's own session.

Called by `console.feed` for what pages show and by `console.change` for what operators do.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx2

from gateway.console.sessions import Session

CONNECT_S = 2.0
ANSWER_S = 15.0  # beyond the time that the server is asked to wait for gateways


class ApiError(Exception):
    """What the control API says is wrong; `unreachable` where it says nothing."""

    def __init__(
        self, code: str, message: str, status: int = 0, data: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.data = dict(data or {})

    @property
    def wants_key(self) -> bool:
        return self.status == 401


class Api:
    def __init__(self, control_url: str) -> None:
        self._client = httpx2.AsyncClient(
            base_url=f"{control_url}/api/v1",
            timeout=httpx2.Timeout(ANSWER_S, connect=CONNECT_S),
            trust_env=False,
            verify=control_url.startswith("https:"),  # reading certificates takes a while
        )

    async def get(self, session: Session, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return await self._ask(session, "GET", path, params=params)

    async def post(self, session: Session, path: str, body: Mapping[str, Any]) -> Any:
        return await self._ask(session, "POST", path, body=body)

    async def put(self, session: Session, path: str, body: Mapping[str, Any]) -> Any:
        return await self._ask(session, "PUT", path, body=body)

    async def delete(self, session: Session, path: str) -> Any:
        return await self._ask(session, "DELETE", path, body={})

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _ask(
        self,
        session: Session,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        headers, content, wait_s = session.headers(), None, 0.0
        if body is not None:
            headers.append((b"content-type", b"application/json"))
            content = json.dumps(body, allow_nan=False).encode()
            wait_s = float(body.get("wait_s", 0))
        timeout = httpx2.Timeout(ANSWER_S + wait_s, connect=CONNECT_S)
        try:
            reply = await self._client.request(
                method, path, params=params, content=content, headers=headers, timeout=timeout
            )
        except httpx2.TransportError as error:
            unsure = "" if method == "GET" else " The change may or may not have been made: look first."
            raise ApiError(
                "unreachable", f"the control API did not answer ({type(error).__name__}).{unsure}"
            ) from None
        return _read(reply)


def path_of(*parts: str) -> str:
    """`/models/digits/compare`, with whatever is in the parts made safe."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _read(reply: httpx2.Response) -> Any:
    try:
        value = json.loads(reply.content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ApiError("internal", "what answers is not the control API of Turnout", reply.status_code)
    if reply.is_success:
        return value
    code, message = str(value.pop("code", "internal")), str(value.pop("error", reply.status_code))
    raise ApiError(code, message, reply.status_code, value)
