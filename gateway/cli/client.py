"""How operator commands speak with the control API: JSON over HTTP, errors as `TurnoutError`.

Nothing else of Turnout is reached from here. A server that cannot be reached is the code `unreachable`.
"""

import getpass
import hashlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import httpx2

from gateway.cli.progress import Progress, progress
from gateway.contract import headers
from gateway.contract.errors import TurnoutError

CONNECT_S = 2.0
DRY_RUN = headers.DRY_RUN.decode()
ANSWER_S = 15.0  # beyond the time that the server is asked to wait for gateways
_CHUNK_BYTES = 1 << 20


class WouldChange(Exception):  # it ends a command early; nothing is wrong
    """A dry run came to where the control process would have written `names` of documents."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(", ".join(names))
        self.names = tuple(names)


class ControlClient:
    """One connection for one command; `wait_s` is how long the server may take on top of its usual time.

    `is_dry`: whatever is not GET says so, and raises `WouldChange` where it would have changed something.
    """

    def __init__(
        self, url: str, *, wait_s: float = 0.0, key: str | None = None, is_dry: bool = False
    ) -> None:
        self._url = url.rstrip("/")
        self._is_dry = is_dry
        self._client = httpx2.Client(
            base_url=f"{self._url}/api/v1",
            timeout=httpx2.Timeout(ANSWER_S + wait_s, connect=CONNECT_S),
            follow_redirects=False,
            trust_env=False,
            verify=self._url.startswith(
                "https:"
            ),  # plain HTTP needs no certificates: reading them takes 40 ms
            headers=[(b"x-turnout-author", author().encode()), *_authorization(key)],
        )

    @property
    def url(self) -> str:
        return self._url

    def get(self, *path: str, **params: Any) -> dict[str, Any]:
        asked = {name: value for name, value in params.items() if value is not None}
        return self._send("GET", path, params=asked)

    def post(self, *path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._send("POST", path, content=_json(body), headers=_JSON)

    def put(self, *path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._send("PUT", path, content=_json(body), headers=_JSON)

    def delete(self, *path: str, **params: Any) -> dict[str, Any]:
        return self._send("DELETE", path, params=params, headers=_JSON)

    def download(self, *path: str, into: IO[bytes]) -> str:
        """Writes the bytes of the answer, and gives their SHA-256."""
        hashed = hashlib.sha256()
        where = "/" + "/".join(quote(part, safe="") for part in path)
        try:
            with progress("downloading") as told, self._client.stream("GET", where) as reply:
                if not reply.is_success:
                    reply.read()
                    self._read(reply)
                told.of_bytes = int(reply.headers.get("content-length", 0))
                for chunk in reply.iter_bytes(_CHUNK_BYTES):
                    told.done_bytes += len(chunk)
                    hashed.update(chunk)
                    into.write(chunk)
        except httpx2.TransportError as error:
            raise TurnoutError(
                "unreachable", f"the control API at {self._url} did not answer ({type(error).__name__})"
            ) from None
        return hashed.hexdigest()

    def upload(self, file: Path) -> dict[str, Any]:
        size_bytes = file.stat().st_size
        size = {"content-length": str(size_bytes), "content-type": "application/octet-stream"}
        with progress("uploading") as told:
            told.of_bytes = size_bytes
            return self._send("POST", ("artifacts",), content=_chunks(file, told), headers=size)

    def close(self) -> None:
        self._client.close()

    def _send(self, method: str, path: tuple[str, ...], **request: Any) -> dict[str, Any]:
        if self._is_dry and method != "GET":
            request["headers"] = {**request.get("headers", {}), DRY_RUN: "true"}
        try:
            with progress(f"waiting for {self._url}"):
                reply = self._client.request(
                    method, "/" + "/".join(quote(part, safe="") for part in path), **request
                )
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            raise TurnoutError(
                "bad_request", f"{self._url} is not a URL: give one like http://127.0.0.1:8090"
            ) from None
        except httpx2.ConnectError:
            raise TurnoutError(
                "unreachable",
                f"no control API answers at {self._url}: start `turnout up`, or give --control-url",
            ) from None
        except httpx2.TransportError as error:
            unsure = (
                ""
                if method == "GET"
                else " The change may or may not have been made: look before you repeat it."
            )
            raise TurnoutError(
                "unreachable",
                f"the control API at {self._url} did not answer ({type(error).__name__}).{unsure}",
            ) from None
        return self._read(reply)

    def _read(self, reply: httpx2.Response) -> dict[str, Any]:
        try:
            value = json.loads(reply.content)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise TurnoutError("unreachable", f"what answers at {self._url} is not a control API of Turnout")
        if reply.is_success:
            if self._is_dry and "would_change" in value:
                raise WouldChange(value["would_change"])
            return value
        for name in ("type", "title", "status", "detail"):  # the same once more, for other programs
            value.pop(name, None)
        code, message = str(value.pop("code", "internal")), str(value.pop("error", reply.status_code))
        raise TurnoutError(code, message, **value)


_JSON = {"content-type": "application/json"}


def author() -> str:
    """`user@host`: what the history and the audit say."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"[:128]


def _authorization(key: str | None) -> list[tuple[bytes, bytes]]:
    if not key:
        return []
    if not (key.isascii() and key.isprintable()):
        raise TurnoutError("bad_request", "this is not a key: give what `turnout key create` printed")
    return [(b"authorization", f"Bearer {key.strip()}".encode())]


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, allow_nan=False).encode()


def _chunks(file: Path, told: Progress) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            yield chunk
            told.done_bytes += len(chunk)
