"""Where model files are kept, under the SHA-256 of their bytes: a folder, or any address that fsspec knows.

A name in a store means whole bytes: a file comes under its digest by one move of a file that is complete. And
nobody has to trust that: who reads, checks the digest over the very bytes that are used. `open_store` chooses
the store; `local` and `remote` are the two; `checked` reads from either. Called by the control process and,
through `checked`, by workers at load. Must not know: Redis, what a model file is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import unquote, urlsplit

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """One file; `modified_s`: Unix time at which it was put here last."""

    digest: str
    size_bytes: int
    modified_s: float


class Store(Protocol):
    """Blocking: to be called in a thread. Raises `TurnoutError`s with a sentence for a person.

    What no version uses leaves in two steps, so that a registration at the same moment can take it back:
    `set_aside` (nobody finds it under its digest any more), then `bring_back` or `delete`. Each does nothing
    where somebody else did it.
    """

    def put(self, source: Path, digest: str) -> None:
        """Keeps the bytes of `source`, which may be gone afterwards; what was kept is replaced, and young."""

    def open_here(self, digest: str) -> IO[bytes] | None:
        """The file itself, where it lies on this machine; None for a store elsewhere."""

    def chunks(self, digest: str) -> Iterator[bytes]:
        """The bytes as they are; `not_found` where there are none."""

    def has(self, digest: str) -> bool: ...
    def kept(self) -> list[Kept]: ...
    def aside(self) -> list[str]: ...
    def set_aside(self, digest: str) -> None: ...
    def bring_back(self, digest: str) -> None: ...
    def delete(self, digest: str) -> None: ...
    def delete_partial(self, before_s: float) -> int:
        """Removes what uploads that never ended have left before this Unix time; gives their number."""


def settings_of(place: str | None) -> dict[str, Any]:
    """The settings that `--artifacts` means: a folder (also as file://), or the address of a store."""
    if place is None:
        return {}
    if place.startswith("file://"):
        place = unquote(urlsplit(place).path)
    return {"artifacts_url": place} if "://" in place else {"artifacts_dir": Path(place), "artifacts_url": ""}


def open_store(directory: Path, url: str = "") -> Store:
    """Without an address the folder is the store. Raises CallerError where the address cannot be one."""
    # Imported where it is needed: most installations keep files in a folder.
    if url:
        from workers.stores.remote import RemoteStore

        return RemoteStore(url)
    from workers.stores.local import LocalStore

    return LocalStore(directory)
