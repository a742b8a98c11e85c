"""The last good documents and leases on disk, for a gateway that starts while Redis is away.

A head, then a document a line. A file is written beside the old one and renamed over it, so that a reader
finds one or the other, whole. Writing happens in a thread, in pieces small enough to let the event loop in.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import msgspec
from pydantic import ValidationError

from gateway.contract.access import Access
from gateway.contract.keys import ACCESS_FIELD
from gateway.contract.pool import Lease
from gateway.core.compile import Snapshot
from gateway.core.kept import read_access

FORMAT = 1
PIECE_DOCUMENTS = 200  # written at once: the interpreter is held for less than 1 ms


class _Head(msgspec.Struct):
    format: int
    revision: int
    leases: list[dict[str, object]]


class _Line(msgspec.Struct):
    field: str


@dataclass(frozen=True, slots=True)
class LastGood:
    revision: int
    documents: dict[str, bytes]  # field -> envelope JSON, of documents that compiled
    leases: tuple[Lease, ...]


def save(path: Path, snapshot: Snapshot, leases: Iterable[Lease]) -> None:
    """Raises OSError when the disk does not take it; the old file stays."""
    told = [lease.model_dump(mode="json") for lease in leases]
    beside = path.with_suffix(f".{os.getpid()}.new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(_Head(FORMAT, snapshot.revision, told)) + b"\n")
        lines = chain(
            chain.from_iterable(model.lines() for model in snapshot.models.values()), snapshot.access.values()
        )
        while piece := list(islice(lines, PIECE_DOCUMENTS)):
            file.write(b"\n".join(piece) + b"\n")
            file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def load(path: Path) -> LastGood | None:
    """None when there is no file, or nothing readable in it."""
    try:
        first, *lines = path.read_bytes().splitlines()
        head = msgspec.json.decode(first, type=_Head)
        read_line = msgspec.json.Decoder(_Line).decode
        documents = {read_line(line).field: line for line in lines}
        leases = tuple(Lease.model_validate(lease) for lease in head.leases)
    except (OSError, ValueError, ValidationError):
        return None
    return LastGood(head.revision, documents, leases) if head.format == FORMAT else None


def had_admin(path: Path) -> bool:
    """Whether the remembered documents turn authentication on."""
    last = load(path)
    raw = None if last is None else last.documents.get(ACCESS_FIELD)
    if raw is None:
        return False
    try:
        access = read_access(raw)
    except ValueError:
        return True
    return isinstance(access, Access) and access.admins > 0
