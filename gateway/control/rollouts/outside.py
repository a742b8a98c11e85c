"""HTTP to addresses that an operator's plan names: Prometheus, webhooks.

A plan must not become a way into places that only this machine can reach: addresses of loopback and
link-local networks (where clouds keep credentials) are called only if their host is listed in the settings.
No redirect is followed, no proxy of the environment used, and an answer that is long or late is dropped.
"""

import asyncio
import ipaddress
import json
import socket
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

TIMEOUT_S = 3.0
MAX_ANSWER_BYTES = 256 * 1024


class OutsideError(Exception):
    """No usable answer; the text says why."""


class Outside:
    """`hosts`: names and addresses of loopback or link-local networks that may be called all the same."""

    def __init__(self, *, hosts: Collection[str], timeout_s: float = TIMEOUT_S) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._timeout_s = timeout_s
        self._client: httpx2.AsyncClient | None = None

    async def get_json(self, url: str, params: Mapping[str, str]) -> Any:
        return _json(await self._send("GET", url, params=params))

    async def post_json(self, url: str, body: Any) -> Any:
        content = json.dumps(body, allow_nan=False).encode()
        headers = {"content-type": "application/json"}
        return _json(await self._send("POST", url, content=content, headers=headers))

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> None:
        await self._send("POST", url, content=content, headers=headers)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _send(self, method: str, url: str, **request: Any) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._check_address(url)
                async with self._opened().stream(method, url, **request) as reply:
                    if not reply.is_success:
                        raise OutsideError(f"it answered with status {reply.status_code}")
                    return await _body(reply)
        except (TimeoutError, httpx2.TimeoutException):
            raise OutsideError(f"no answer within {self._timeout_s:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise OutsideError(f"no answer ({type(error).__name__})") from None

    async def _check_address(self, url: str) -> None:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        if parts.scheme not in ("http", "https") or not host:
            raise OutsideError("it is not an http or https address")
        if host in self._hosts:
            return
        found = await asyncio.get_running_loop().getaddrinfo(host, parts.port or 80, type=socket.SOCK_STREAM)
        for entry in found:
            address = ipaddress.ip_address(str(entry[4][0]).partition("%")[0])
            address = getattr(address, "ipv4_mapped", None) or address
            if address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast:
                raise OutsideError(
                    f"{host} is {address}, which is not called unless `control.outside_hosts` lists {host}"
                )

    def _opened(self) -> httpx2.AsyncClient:
        """Made when it is first needed: reading certificates takes 40 ms."""
        if self._client is None:
            self._client = httpx2.AsyncClient(
                timeout=self._timeout_s, follow_redirects=False, trust_env=False
            )
        return self._client


async def _body(reply: httpx2.Response) -> bytes:
    parts, size = [], 0
    async for part in reply.aiter_bytes():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise OutsideError(f"its answer is longer than {MAX_ANSWER_BYTES // 1024} KiB")
        parts.append(part)
    return b"".join(parts)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise OutsideError("its answer is not JSON") from None
