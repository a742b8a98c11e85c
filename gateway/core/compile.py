"""From documents to what a gateway serves: a frozen snapshot and a list of problems.

A route that is wrong keeps its last good form and never harms another. What is unchanged since the last
snapshot is taken over as it is, so that a commit costs only what it touches.

Must not know: Redis, workers, HTTP.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pydantic import ValidationError

from gateway.contract.envelope import Envelope
from gateway.contract.route import Route, problems_of
from gateway.contract.version import Version
from gateway.core.decide import CompiledRoute, compile_route


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a document is not served as it lies in Redis."""

    field: str
    revision: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that decisions need, at one revision."""

    revision: int = 0
    routes: Mapping[str, CompiledRoute] = field(default_factory=lambda: MappingProxyType({}))
    versions: Mapping[str, Mapping[str, Version]] = field(default_factory=lambda: MappingProxyType({}))
    problems: Mapping[str, Problem] = field(default_factory=lambda: MappingProxyType({}))


EMPTY = Snapshot()


def compile_changes(last: Snapshot, *, revision: int, changed: Mapping[str, bytes | None]) -> Snapshot:
    """The next snapshot; `changed` maps fields of documents to their envelopes (JSON), None = deleted."""
    routes = dict(last.routes)
    versions = (
        {model: dict(known) for model, known in last.versions.items()} if _any_version(changed) else None
    )
    problems = dict(last.problems)
    for name, raw in changed.items():
        kind, _, rest = name.partition("/")
        problems.pop(name, None)
        try:
            if kind == "version" and versions is not None:
                _apply_version(versions, rest, raw)
            elif kind == "route":
                _apply_route(routes, rest, raw)
        except ValidationError as error:
            problems[name] = Problem(name, revision, tuple(problems_of(error)))
        except ValueError as error:
            problems[name] = Problem(name, revision, (str(error),))
    return Snapshot(
        revision=revision,
        routes=MappingProxyType(routes),
        versions=last.versions if versions is None else MappingProxyType(versions),
        problems=MappingProxyType(problems),
    )


def _any_version(changed: Mapping[str, bytes | None]) -> bool:
    return any(name.startswith("version/") for name in changed)


def _apply_version(versions: dict[str, dict[str, Version]], name: str, raw: bytes | None) -> None:
    model, _, version = name.partition("/")
    known = versions.setdefault(model, {})
    document = None if raw is None else Envelope.model_validate_json(raw).doc
    if document is None:
        known.pop(version, None)
    else:
        known[version] = Version.model_validate(document)


def _apply_route(routes: dict[str, CompiledRoute], model: str, raw: bytes | None) -> None:
    envelope = None if raw is None else Envelope.model_validate_json(raw)
    if envelope is None or envelope.doc is None:
        routes.pop(model, None)
        return
    route = Route.model_validate(envelope.doc)
    if route.model != model:
        raise ValueError(f"model: the document is about {route.model}, but lies at {model}")
    routes[model] = compile_route(route, revision=envelope.revision)
