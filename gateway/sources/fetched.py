"""What a source gives: a local file with what is known about it. And the limits that every source keeps.

A source never runs what it fetches, and copies at most `max_bytes`. Called by the sources.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gateway.contract.errors import CallerError
from gateway.contract.lineage import Lineage


@dataclass(frozen=True, slots=True)
class Fetched:
    """`address` says the source again so that it gives the same bytes (a branch became its commit)."""

    path: Path
    address: str
    lineage: Lineage
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """`roots`: folders that local sources must lie in; empty = any. `hosts`: names of hosts that may be asked
    without encryption, or on the word of a server, although they are not public."""

    max_bytes: int = 2 << 30  # what protobuf, and so an ONNX file without external data, can hold
    timeout_s: float = 120.0
    roots: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()


def refused(reason: str) -> CallerError:
    return CallerError("refused", reason)


def not_found(reason: str) -> CallerError:
    return CallerError("not_found", reason)


def keep(chunks: Iterable[bytes], into: Path, *, limits: Limits) -> Path:
    """Writes the chunks to `into`, and gives up as soon as they are too many."""
    size = 0
    with into.open("xb") as file:
        for chunk in chunks:
            size += len(chunk)
            if size > limits.max_bytes:
                raise CallerError("too_large", f"the model file is longer than {limits.max_bytes} bytes")
            file.write(chunk)
    return into
