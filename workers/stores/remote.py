"""A store behind fsspec: object stores (s3://, gs://, abfs://), sftp://, memory:// and whatever has a driver.

A file is written under a key of its own in `partial/`, its size is asked, and then it is moved under its
digest. Object stores show an object only when it is whole, and their move is a copy of the server's own, just
as whole; elsewhere (sftp, smb, hdfs) the move is a rename. A writer that dies leaves a key in `partial/` that
no reader looks at. fsspec and its drivers are not installed with Turnout, and this module alone knows them.
Called through `stores.open_store`.
"""

import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.contract.errors import CallerError, UpstreamError
from workers.stores import CHUNK_BYTES, Kept
from workers.stores.local import DIGEST

# How drivers call the time of an object's last change.
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci"})
# What drivers let through of the libraries under them, beside OSError; looked up in what is loaded already.
_FOREIGN = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "google.auth.exceptions": ("GoogleAuthError",),
    "azure.core.exceptions": ("AzureError",),
    "aiohttp": ("ClientError",),
    "paramiko.ssh_exception": ("SSHException",),
}


class RemoteStore:
    def __init__(self, url: str) -> None:
        self.shown = _without_password(url)
        try:
            import fsspec
        except ImportError:
            raise CallerError(
                "bad_request", f"the store {self.shown} needs fsspec: pip install 'turnout[stores]'"
            ) from None
        try:
            self._fs, root = fsspec.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise CallerError("bad_request", f"the store {self.shown} needs a driver: {error}") from None
        except (ValueError, TypeError, OSError) as error:
            raise CallerError("bad_request", f"{self.shown} is not a store: {error}") from None
        self._root = root.rstrip("/")

    def put(self, source: Path, digest: str) -> None:
        partial = f"{self._root}/partial/{uuid.uuid4().hex}"
        with self._translated():
            try:
                self._make_folder_of(partial)
                self._fs.put_file(str(source), partial)
                size = self._fs.size(partial)
                if size != source.stat().st_size:
                    raise UpstreamError("bad_upstream", f"{self.shown} kept {size} bytes of a longer file")
                self._move(partial, self._at(digest))
            except _errors(UpstreamError):
                self._try_to_remove(partial)
                raise

    def open_here(self, digest: str) -> None:
        return None

    def chunks(self, digest: str) -> Iterator[bytes]:
        with self._translated(digest), self._fs.open(self._at(digest), "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def has(self, digest: str) -> bool:
        """Asked for by `info`: the drivers' own `isfile` says no where the store is away."""
        with self._translated():
            try:
                return bool(self._fs.info(self._at(digest))["type"] == "file")
            except FileNotFoundError:
                return False

    def kept(self) -> list[Kept]:
        return [
            Kept(_name(path), int(info["size"]), self._modified_s(path, info))
            for path, info in self._files("sha256")
            if DIGEST.match(_name(path))
        ]

    def aside(self) -> list[str]:
        return [_name(path) for path, _ in self._files("aside") if DIGEST.match(_name(path))]

    def set_aside(self, digest: str) -> None:
        with self._translated(), suppress(FileNotFoundError):
            self._move(self._at(digest), f"{self._root}/aside/{digest}")

    def bring_back(self, digest: str) -> None:
        with self._translated(), suppress(FileNotFoundError):
            self._move(f"{self._root}/aside/{digest}", self._at(digest))

    def delete(self, digest: str) -> None:
        with self._translated(), suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/aside/{digest}")

    def delete_partial(self, before_s: float) -> int:
        old = [
            path
            for path, info in self._files("partial")
            if self._modified_s(path, info) < min(before_s, time.time())
        ]
        with self._translated():
            for path in old:
                self._fs.rm_file(path)
        return len(old)

    def _at(self, digest: str) -> str:
        return f"{self._root}/sha256/{digest[:2]}/{digest}"

    def _move(self, source: str, target: str) -> None:
        self._make_folder_of(target)
        self._fs.mv(source, target)

    def _make_folder_of(self, path: str) -> None:
        """Object stores have none, and some drivers would make a bucket instead."""
        names = self._fs.protocol
        if _OBJECT_STORES.isdisjoint([names] if isinstance(names, str) else names):
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _files(self, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
        with self._translated():
            try:
                found = self._fs.find(f"{self._root}/{folder}", detail=True)
            except FileNotFoundError:
                found = {}
        yield from found.items()

    def _modified_s(self, path: str, info: dict[str, Any]) -> float:
        value = next((info[name] for name in _TIMES if info.get(name)), None)
        if value is None:
            with self._translated():
                value = self._fs.modified(path)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        return float(value)

    def _try_to_remove(self, partial: str) -> None:
        try:
            self._fs.rm_file(partial)
        except _errors():
            pass  # what failed first is told; the rest is removed with other partial files

    @contextmanager
    def _translated(self, digest: str = "") -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            said = f"has no model file {digest}" if digest else f"is not there: {error}"
            raise CallerError("not_found", f"the store {self.shown} {said}") from None
        except _errors() as error:
            said = " ".join(str(error).split())[:300] or type(error).__name__
            raise UpstreamError("bad_upstream", f"the store {self.shown} failed: {said}") from None


def _errors(*more: type[BaseException]) -> tuple[type[BaseException], ...]:
    loaded = [
        getattr(sys.modules[module], name)
        for module, names in _FOREIGN.items()
        for name in names
        if module in sys.modules
    ]
    return (OSError, NotImplementedError, ValueError, *loaded, *more)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _without_password(url: str) -> str:
    found = urlsplit(url)
    return url if "@" not in found.netloc else url.replace(found.netloc, found.netloc.rpartition("@")[2], 1)
