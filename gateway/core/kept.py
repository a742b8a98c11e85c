"""What a gateway keeps of one model's documents: little, until somebody asks for the model.

A document is checked when it comes, so that a problem is known at once, and kept as one line of JSON: a route
whole, a version as far as requests need it. What requests need is made of the lines at the first request. The
lines have the form of an envelope, so that what was kept (on disk, for instance) can be read as what came.

Must not know: Redis, workers, HTTP. Used by `compile`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec
from pydantic import TypeAdapter

from gateway.contract.access import Access, Key
from gateway.contract.keys import ACCESS_FIELD
from gateway.contract.route import Route
from gateway.contract.signature import Datatype, Signature
from gateway.contract.standing import Standing
from gateway.core.announce import ANNOUNCED
from gateway.core.decide import CompiledRoute, compile_route


class _Envelope(msgspec.Struct):
    revision: int
    doc: msgspec.Raw
    field: str = ""


class _Tensor(msgspec.Struct):
    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class _Signature(msgspec.Struct):
    inputs: tuple[_Tensor, ...]
    outputs: tuple[_Tensor, ...]


class _Version(msgspec.Struct):
    """What is kept of a version; who registers one checks the rest of it (`contract.version`)."""

    model: str
    version: str
    signature: _Signature
    platform: str = "onnx_onnxv1"


@dataclass(frozen=True, slots=True)
class Registered:
    """A version as its callers see it."""

    platform: str
    signature: Signature


_read_envelope = msgspec.json.Decoder(_Envelope).decode
_read_version = msgspec.json.Decoder(_Version).decode
_write = msgspec.json.Encoder().encode
_registered = TypeAdapter(Registered)


def route_line(model: str, raw: bytes, *, last: bytes | None) -> bytes | None:
    """The line to keep of a route's envelope, `last` itself when it is the same; None where it was deleted.

    Raises ValueError (pydantic's is one) when it is no valid route of this model.
    """
    envelope = _read_envelope(raw)
    if envelope.doc == b"null":
        return None
    document = msgspec.json.format(bytes(envelope.doc), indent=-1)  # without line breaks
    line = _line(f"route/{model}", envelope.revision, document)
    if line == last:
        return last
    route = Route.model_validate_json(document)
    if route.model != model:
        raise ValueError(f"model: the document is about {route.model}, but lies at {model}")
    return line


def version_line(model: str, version: str, raw: bytes, *, last: bytes | None) -> bytes | None:
    """As `route_line`, for a version."""
    envelope = _read_envelope(raw)
    if envelope.doc == b"null":
        return None
    document = _read_version(envelope.doc)
    if (document.model, document.version) != (model, version):
        raise ValueError(
            f"version: the document is about {document.model} {document.version}, "
            f"but lies at {model} {version}"
        )
    line = _line(f"version/{model}/{version}", envelope.revision, _write(document))
    return last if line == last else line


def standing_line(model: str, version: str, raw: bytes, *, last: bytes | None) -> bytes | None:
    """As `route_line`, for how a version stands; None where requests need not know of it."""
    envelope = _read_envelope(raw)
    if envelope.doc == b"null":
        return None
    standing = Standing.model_validate_json(bytes(envelope.doc))
    if (standing.model, standing.version) != (model, version):
        raise ValueError(f"version: the document is about {standing.model} {standing.version}")
    if standing.state not in ANNOUNCED:
        return None
    line = _line(f"standing/{model}/{version}", envelope.revision, standing.model_dump_json().encode())
    return last if line == last else line


def access_line(field: str, raw: bytes, *, last: bytes | None) -> bytes | None:
    """As `route_line`, for a key (without its secret) or the `access` document."""
    envelope = _read_envelope(raw)
    if envelope.doc == b"null":
        return None
    line = _line(field, envelope.revision, msgspec.json.format(bytes(envelope.doc), indent=-1))
    if line != last:
        read_access(line)
    return last if line == last else line


def read_access(line: bytes) -> Key | Access:
    """The document of such a line. Raises ValueError when it is none."""
    envelope = _read_envelope(line)
    kind = Access if envelope.field == ACCESS_FIELD else Key
    return kind.model_validate_json(bytes(envelope.doc))


def _line(field: str, revision: int, document: bytes) -> bytes:
    return _write(_Envelope(revision, msgspec.Raw(document), field))


class Model:
    """The lines of one model; it is never changed, but that it remembers its compiled route."""

    __slots__ = ("_compiled", "route", "standings", "versions")

    def __init__(
        self,
        route: bytes | None = None,
        versions: dict[str, bytes] | None = None,
        standings: dict[str, bytes] | None = None,
    ) -> None:
        self.route = route
        self.versions = versions or {}
        self.standings = standings  # of versions that end; most models have none
        self._compiled: CompiledRoute | None = None

    def with_route(self, line: bytes | None) -> "Model":
        return Model(line, self.versions, self.standings)

    def with_version(self, version: str, line: bytes | None) -> "Model":
        return Model(self.route, _with(self.versions, version, line), self.standings)

    def with_standing(self, version: str, line: bytes | None) -> "Model":
        return Model(self.route, self.versions, _with(self.standings or {}, version, line) or None)

    def lines(self) -> list[bytes]:
        standings = () if self.standings is None else self.standings.values()
        return [*self.versions.values(), *standings, *(() if self.route is None else (self.route,))]

    @property
    def ending(self) -> dict[str, Standing]:
        """How versions stand that are deprecated or retired."""
        return {
            version: Standing.model_validate_json(bytes(_read_envelope(line).doc))
            for version, line in (self.standings or {}).items()
        }

    @property
    def compiled(self) -> CompiledRoute | None:
        """The route, ready to decide; None where there is none."""
        if self._compiled is None and self.route is not None:
            envelope = _read_envelope(self.route)
            route = Route.model_validate_json(bytes(envelope.doc))
            self._compiled = compile_route(route, revision=envelope.revision)
        return self._compiled

    @property
    def registered(self) -> Mapping[str, Registered]:
        """The versions by name; each is read when it is taken, and not remembered."""
        return _Read(self.versions)


def _with(lines: dict[str, bytes], name: str, line: bytes | None) -> dict[str, bytes]:
    others = {other: kept for other, kept in lines.items() if other != name}
    return others if line is None else others | {name: line}


class _Read(Mapping[str, Registered]):
    def __init__(self, lines: dict[str, bytes]) -> None:
        self._lines = lines

    def __getitem__(self, version: str) -> Registered:
        return _registered.validate_json(bytes(_read_envelope(self._lines[version]).doc))

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)
