"""The last good documents and leases on disk, for a gateway that starts while Redis is away.

A file is written beside the old one and renamed over it, so that a reader finds one or the other, whole.
"""

import base64
import os
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import ValidationError

from gateway.contract.pool import Lease


@dataclass(frozen=True, slots=True)
class LastGood:
    revision: int
    documents: dict[str, bytes]  # field -> envelope JSON, of documents that compiled
    leases: tuple[Lease, ...]


def save(path: Path, last: LastGood) -> None:
    """Raises OSError when the disk does not take it; the old file stays."""
    data = orjson.dumps(
        {
            "revision": last.revision,
            "documents": {field: base64.b64encode(raw).decode() for field, raw in last.documents.items()},
            "leases": [lease.model_dump(mode="json") for lease in last.leases],
        }
    )
    beside = path.with_suffix(f".{os.getpid()}.new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def load(path: Path) -> LastGood | None:
    """None when there is no file, or nothing readable in it."""
    try:
        read = orjson.loads(path.read_bytes())
        return LastGood(
            revision=int(read["revision"]),
            documents={field: base64.b64decode(raw) for field, raw in read["documents"].items()},
            leases=tuple(Lease.model_validate(lease) for lease in read["leases"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return None
