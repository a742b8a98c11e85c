"""Bytes out of a store, given only when their SHA-256 is the digest that was asked for.

`read_artifact` gives the very bytes whose digest was checked, so that a file swapped later changes nothing.
`opened` gives a file of this machine whose bytes were checked. `read_registered` gives a worker the bytes of
the version that it serves, out of its own folder if they are there, else out of the store, of which it then
keeps a copy. A copy that changed on disk is fetched again. Blocking: called in threads, by the control
process and by `workers.app`.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

from gateway.contract.errors import CallerError, TurnoutError
from workers.stores import CHUNK_BYTES, Store, open_store
from workers.stores.local import LocalStore, artifact_path


def read_artifact(path: Path, *, digest: str | None, max_bytes: int) -> tuple[bytes, str]:
    """The file's bytes and their SHA-256 in hex; refuses a file that is too large or is not `digest`."""
    try:
        with path.open("rb") as file:
            is_short = os.fstat(file.fileno()).st_size <= max_bytes  # known without reading it
            data = file.read(max_bytes + 1) if is_short else b""
    except FileNotFoundError:
        raise CallerError("not_found", f"there is no model file {path}: register the version again") from None
    except OSError as error:
        raise CallerError("bad_request", f"cannot read {path}: {error.strerror}") from None
    if not is_short or len(data) > max_bytes:
        raise CallerError("too_large", f"{path} is larger than {max_bytes} bytes")
    found = hashlib.sha256(data).hexdigest()
    if digest is not None and found != digest:
        raise CallerError(
            "refused",
            f"{path} is not the registered file: its SHA-256 is {found[:12]}..., registered is "
            f"{digest[:12]}...; restore it, or register it as another version",
        )
    return data, found


def opened(store: Store, digest: str, *, scratch: Path, max_bytes: int) -> IO[bytes]:
    """At its beginning; the caller closes it. `internal` where the bytes are others."""
    file = store.open_here(digest)
    is_here = file is not None
    if file is not None and os.fstat(file.fileno()).st_size > max_bytes:
        file.close()
        raise _too_large(digest, max_bytes)
    if file is None:
        scratch.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - the caller closes it
    arriving = iter(partial(file.read, CHUNK_BYTES), b"") if is_here else store.chunks(digest)
    try:
        for chunk in _checked(arriving, digest, max_bytes=max_bytes):
            if not is_here:
                file.write(chunk)
        file.seek(0)
    except (OSError, TurnoutError):
        file.close()
        raise
    return file


def read_registered(directory: Path, url: str, digest: str, *, max_bytes: int) -> tuple[bytes, str]:
    """The bytes and their digest, as `read_artifact` gives them."""
    path = artifact_path(directory, digest)
    if url:
        try:
            return read_artifact(path, digest=digest, max_bytes=max_bytes)
        except CallerError as error:
            if error.code == "too_large":
                raise
        _bring(open_store(directory, url), digest, directory, max_bytes=max_bytes)
    return read_artifact(path, digest=digest, max_bytes=max_bytes)


def _bring(store: Store, digest: str, directory: Path, *, max_bytes: int) -> None:
    scratch = directory / "partial"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=scratch, delete=False) as copy:
            try:
                copy.writelines(_checked(store.chunks(digest), digest, max_bytes=max_bytes))
                copy.flush()
                LocalStore(directory).put(Path(copy.name), digest)
            finally:
                Path(copy.name).unlink(missing_ok=True)
    except OSError as error:
        raise TurnoutError("internal", f"no copy can be kept in {directory}: {error.strerror}") from None


def _checked(chunks: Iterator[bytes], digest: str, *, max_bytes: int) -> Iterator[bytes]:
    """The bytes; raises after the last one where they are not those of the digest."""
    hashed, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(digest, max_bytes)
        hashed.update(chunk)
        yield chunk
    if hashed.hexdigest() != digest:
        raise TurnoutError(
            "internal",
            f"the bytes of artifact {digest} changed in the store (their SHA-256 is now "
            f"{hashed.hexdigest()[:12]}...): send the file again",
        )


def _too_large(digest: str, max_bytes: int) -> CallerError:
    return CallerError("too_large", f"the model file {digest} is longer than {max_bytes} bytes")
