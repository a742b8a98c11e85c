"""How a model file comes to this machine that is not in its folder yet, and in no store that it can reach.

It comes from the control process, by its SHA-256. Other bytes than those that were registered are thrown away
and never served; the worker checks the digest once more when it loads the file. `fetch` blocks: called by
`workers.supervisor` in a thread.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from gateway.contract.errors import UpstreamError
from workers.stores.local import artifact_path

CONNECT_S = 2.0
READ_S = 10.0  # between two pieces
_CHUNK_BYTES = 1 << 20


def fetch(
    address: str,
    key: str,
    *,
    digest: str,
    directory: Path,
    max_bytes: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """`address`: `GET …/artifact` of the control API. Raises UpstreamError with what an operator can do."""
    path = artifact_path(directory, digest)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".fetching-", delete=False) as file:
            try:
                found = _download(address, key, into=file, max_bytes=max_bytes, should_stop=should_stop)
                if found != digest:
                    raise UpstreamError(
                        "bad_upstream",
                        f"the file at {address} has the SHA-256 {found[:12]}... and was thrown away, for "
                        f"registered is {digest[:12]}...: restore it in control's folder",
                    )
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise UpstreamError(
            "not_ready", f"no model file can be kept in {directory}: {error.strerror}"
        ) from None


def _download(
    address: str, key: str, *, into: IO[bytes], max_bytes: int, should_stop: Callable[[], bool]
) -> str:
    """The SHA-256 of what came."""
    import httpx2  # most supervisors never need it

    hashed, size = hashlib.sha256(), 0
    headers = {"authorization": f"Bearer {key}"} if key else {}
    timeout = httpx2.Timeout(READ_S, connect=CONNECT_S)
    try:
        with httpx2.stream("GET", address, headers=headers, timeout=timeout, trust_env=False) as reply:
            if reply.status_code != 200:
                hint = ": give --key" if reply.status_code in (401, 403) else ""
                raise UpstreamError(
                    "bad_upstream", f"control answers {reply.status_code} for the file at {address}{hint}"
                )
            for chunk in reply.iter_bytes(_CHUNK_BYTES):
                size += len(chunk)
                if size > max_bytes:
                    raise UpstreamError("too_large", f"{address} is longer than {max_bytes} bytes")
                if should_stop():
                    raise UpstreamError("draining", f"{address} was given up: this supervisor ends")
                hashed.update(chunk)
                into.write(chunk)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise UpstreamError(
            "unreachable", f"the file at {address} could not be fetched ({type(error).__name__})"
        ) from None
    into.flush()
    os.fsync(into.fileno())
    return hashed.hexdigest()
