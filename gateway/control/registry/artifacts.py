"""Model files on their way into the store and out of it.

A file is streamed into a partial one on this machine while it is hashed, inspected, and only then put into
the store (`workers.stores`) under its digest: a digest in the store always means whole and readable bytes.
Inspecting parses a file that nobody vouches for: it happens in a thread, and the worker that serves the file
checks its digest again. Called by the handlers of models and by `control.registry.collect`.
"""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from gateway.contract.errors import CallerError, TurnoutError
from gateway.contract.signature import Signature
from workers.stores import CHUNK_BYTES, Store
from workers.stores.checked import opened

MAX_KEPT_BYTES = 2 << 30  # what was kept under a larger limit than today's can still be read
CHUNK_DEADLINE_S = 30.0  # a sender that is silent for this long is given up


@dataclass(frozen=True, slots=True)
class Artifact:
    digest: str
    size_bytes: int
    signature: Signature
    producer: str
    opsets: dict[str, int]
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the file itself says."""

    signature: Signature
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)


Inspect = Callable[[bytes], Inspected]


class Artifacts:
    """`inspect` reads what a model's bytes say, or raises a `CallerError`."""

    def __init__(self, store: Store, *, scratch: Path, inspect: Inspect, max_bytes: int) -> None:
        self.store = store
        self._scratch = scratch
        self._inspect = inspect
        self._max_bytes = max_bytes

    async def add(self, chunks: AsyncIterator[bytes]) -> Artifact:
        """Keeps the bytes under their digest; the same bytes again only make the kept ones young."""
        with self._partial() as (path, file):
            digest = await self._receive(chunks, file)
            data = await asyncio.to_thread(path.read_bytes)
            artifact = await asyncio.to_thread(self._read, data, digest)
            await asyncio.to_thread(self.store.put, path, digest)
        return artifact

    async def get(self, digest: str) -> Artifact:
        """What the store holds under this digest, read and checked again."""
        try:
            file = await self.open(digest)
        except CallerError as error:
            if error.code != "not_found":
                raise
            raise CallerError(
                "invalid_document",
                "the model file is not in the store: send it first (POST /api/v1/artifacts)",
                problems=[f"digest: no artifact {digest}"],
            ) from None
        with file:
            data = await asyncio.to_thread(file.read)
        return await asyncio.to_thread(self._read, data, digest)

    async def keep(self, artifact: Artifact) -> None:
        """Puts it back, if it was collected while it was registered."""
        if await asyncio.to_thread(self.store.has, artifact.digest):
            return
        with self._partial() as (path, file):
            await asyncio.to_thread(file.write, artifact.data)
            await asyncio.to_thread(_to_disk, file)
            await asyncio.to_thread(self.store.put, path, artifact.digest)

    async def open(self, digest: str) -> IO[bytes]:
        """The file, whose bytes were checked a moment ago. The caller closes it."""
        return await asyncio.to_thread(
            opened, self.store, digest, scratch=self._scratch, max_bytes=MAX_KEPT_BYTES
        )

    @contextmanager
    def _partial(self) -> Iterator[tuple[Path, IO[bytes]]]:
        """A file on its way into the store; whatever happens, nothing of it stays here."""
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._scratch, delete=False) as file:
                try:
                    yield Path(file.name), file
                finally:
                    Path(file.name).unlink(missing_ok=True)
        except OSError as error:
            raise TurnoutError("internal", f"the model file could not be kept: {error.strerror}") from None

    async def _receive(self, chunks: AsyncIterator[bytes], file: IO[bytes]) -> str:
        hashed, size = hashlib.sha256(), 0
        try:
            while True:
                async with asyncio.timeout(CHUNK_DEADLINE_S):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                size += len(chunk)
                if size > self._max_bytes:
                    raise CallerError(
                        "too_large",
                        f"the model file is longer than {self._max_bytes} bytes",
                        max_bytes=self._max_bytes,
                    )
                hashed.update(chunk)
                file.write(chunk)
        except TimeoutError:
            raise CallerError("slow_client", f"no byte of the file came for {CHUNK_DEADLINE_S:g} s") from None
        if size == 0:
            raise CallerError("invalid_input", "the model file is empty")
        await asyncio.to_thread(_to_disk, file)
        return hashed.hexdigest()

    def _read(self, data: bytes, digest: str) -> Artifact:
        found = self._inspect(data)
        return Artifact(digest, len(data), found.signature, found.producer, found.opsets, data)


async def chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    """All of an open file, which is closed at the end."""
    with file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
