"""A folder as the store: `DIR/sha256/<2 hex>/<digest>`, beside it `partial/` for what arrives and `aside/`
for what leaves.

All three are on one file system, so that each step is one rename. Called through `stores.open_store`.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from gateway.contract.errors import CallerError, TurnoutError
from workers.stores import CHUNK_BYTES, Kept

DIGEST = re.compile(r"^[0-9a-f]{64}$")


def artifact_path(directory: Path, digest: str) -> Path:
    return directory / "sha256" / digest[:2] / digest


class LocalStore:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._aside = directory / "aside"

    def put(self, source: Path, digest: str) -> None:
        """`source` must be on the folder's file system, and its bytes on the disk: it is moved."""
        target = artifact_path(self._directory, digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.chmod(0o644)
        os.utime(source)  # the moment of its coming, not of its first byte
        source.replace(target)
        _to_disk(target.parent)

    def open_here(self, digest: str) -> IO[bytes]:
        try:
            return artifact_path(self._directory, digest).open("rb")
        except FileNotFoundError:
            raise CallerError("not_found", f"the model file {digest} is not in the store") from None
        except OSError as error:
            raise TurnoutError("internal", f"the store cannot be read: {error.strerror}") from None

    def chunks(self, digest: str) -> Iterator[bytes]:
        with self.open_here(digest) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def has(self, digest: str) -> bool:
        return artifact_path(self._directory, digest).is_file()

    def kept(self) -> list[Kept]:
        found = []
        for path in self._directory.glob("sha256/??/*"):
            if DIGEST.match(path.name):
                try:
                    stat = path.stat()
                except FileNotFoundError:  # it leaves at this moment
                    continue
                found.append(Kept(path.name, stat.st_size, stat.st_mtime))
        return found

    def aside(self) -> list[str]:
        return [path.name for path in self._aside.glob("*") if DIGEST.match(path.name)]

    def set_aside(self, digest: str) -> None:
        self._aside.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            artifact_path(self._directory, digest).replace(self._aside / digest)

    def bring_back(self, digest: str) -> None:
        target = artifact_path(self._directory, digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            (self._aside / digest).replace(target)

    def delete(self, digest: str) -> None:
        (self._aside / digest).unlink(missing_ok=True)

    def delete_partial(self, before_s: float) -> int:
        count = 0
        for path in self._directory.glob("partial/*"):
            try:
                if path.stat().st_mtime < min(before_s, time.time()):
                    path.unlink()
                    count += 1
            except FileNotFoundError:
                continue
        return count


def _to_disk(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
