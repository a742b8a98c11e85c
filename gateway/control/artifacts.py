"""The content-addressed store of model files on the local disk: `DIR/sha256/<2 hex>/<digest>`.

A file is streamed into a temporary one beside it while it is hashed, inspected, and only then renamed to its
digest, so that a name in the store always means whole and readable bytes. Inspecting parses a file that
nobody vouches for: it happens in a thread, and the worker that serves the file checks its digest again.
"""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from gateway.contract.errors import CallerError, TurnoutError
from gateway.contract.signature import Signature

CHUNK_DEADLINE_S = 30.0  # a sender that is silent for this long is given up


@dataclass(frozen=True, slots=True)
class Artifact:
    digest: str
    size_bytes: int
    signature: Signature
    producer: str
    opsets: dict[str, int]


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the file itself says."""

    signature: Signature
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)


Inspect = Callable[[bytes], Inspected]


class Artifacts:
    """`inspect` reads what a model's bytes say, or raises a `CallerError`."""

    def __init__(self, directory: Path, *, inspect: Inspect, max_bytes: int) -> None:
        self._directory = directory
        self._inspect = inspect
        self._max_bytes = max_bytes

    def path_of(self, digest: str) -> Path:
        return self._directory / "sha256" / digest[:2] / digest

    async def add(self, chunks: AsyncIterator[bytes]) -> Artifact:
        """Keeps the bytes under their digest; the same bytes again change nothing."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._directory, prefix=".upload-") as file:
                digest = await self._receive(chunks, file)
                artifact = await asyncio.to_thread(self._read, Path(file.name), digest)
                await asyncio.to_thread(self._keep, Path(file.name), digest)
        except OSError as error:
            raise TurnoutError(
                "internal", f"the model file could not be kept in {self._directory}: {error.strerror}"
            ) from None
        return artifact

    async def get(self, digest: str) -> Artifact:
        """What the store holds under this digest, read and checked again."""
        path = self.path_of(digest)
        if not path.is_file():
            raise CallerError(
                "invalid_document",
                "the model file is not in the store: send it first (POST /api/v1/artifacts)",
                problems=[f"digest: no artifact {digest}"],
            )
        return await asyncio.to_thread(self._read, path, digest)

    async def chunks(self, digest: str) -> AsyncIterator[bytes]:
        """The file's bytes; opened before the first chunk is asked for."""
        with self.path_of(digest).open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, 1 << 20):
                yield chunk

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

    def _read(self, path: Path, digest: str) -> Artifact:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise TurnoutError(
                "internal", f"the bytes of artifact {digest} changed on disk: send the file again"
            )
        found = self._inspect(data)
        return Artifact(digest, len(data), found.signature, found.producer, found.opsets)

    def _keep(self, source: Path, digest: str) -> None:
        target = self.path_of(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            source.chmod(0o644)
            # A second name and not a rename: the temporary file removes its own name when it is closed.
            staged = target.with_name(f".{source.name}")
            os.link(source, staged)
            staged.replace(target)
            directory = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
