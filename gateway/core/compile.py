"""From documents to what a gateway serves: a frozen snapshot and a list of problems.

A document that is wrong keeps its last good form and never harms another. What is unchanged since the last
snapshot is shared with it, so that a commit costs what it touches, however many models there are.

Must not know: Redis, workers, HTTP.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError

from gateway.contract.route import problems_of
from gateway.core.decide import CompiledRoute
from gateway.core.kept import Model, Registered, access_line, route_line, standing_line, version_line
from gateway.core.persistent import PersistentMap

Part = TypeVar("Part")


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
    models: PersistentMap[Model] = field(default_factory=PersistentMap)
    problems: PersistentMap[Problem] = field(default_factory=PersistentMap)
    access: PersistentMap[bytes] = field(default_factory=PersistentMap)  # `key/<id>`, `access` -> line

    @property
    def routes(self) -> Mapping[str, CompiledRoute]:
        """By model; each is compiled when it is first asked for."""
        return _Parts(self.models, lambda model: model.route is not None, lambda model: model.compiled)

    @property
    def versions(self) -> Mapping[str, Mapping[str, Registered]]:
        """By model and version."""
        return _Parts(self.models, lambda model: bool(model.versions), lambda model: model.registered)


EMPTY = Snapshot()


class _Parts(Mapping[str, Part]):
    """One part of every model that has it."""

    def __init__(
        self,
        models: Mapping[str, Model],
        has_it: Callable[[Model], bool],
        part: Callable[[Model], Part | None],
    ) -> None:
        self._models = models
        self._has_it = has_it
        self._part = part

    def __getitem__(self, name: str) -> Part:
        model = self._models[name]
        part = self._part(model) if self._has_it(model) else None
        if part is None:
            raise KeyError(name)
        return part

    def __iter__(self) -> Iterator[str]:
        return (name for name, model in self._models.items() if self._has_it(model))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def compile_changes(last: Snapshot, *, revision: int, changed: Mapping[str, bytes | None]) -> Snapshot:
    """The next snapshot; `changed` maps fields of documents to their envelopes (JSON), None = deleted."""
    models: dict[str, Model] = {}
    access: dict[str, bytes | None] = {}
    problems: dict[str, Problem | None] = {}
    for name, raw in changed.items():
        kind, _, rest = name.partition("/")
        if kind not in ("route", "version", "standing", "key", "access"):
            continue
        model = rest.partition("/")[0]
        before = models.get(model) or last.models.get(model) or Model()
        after = before
        try:
            if kind in ("key", "access"):
                kept = last.access.get(name)
                line = None if raw is None else access_line(name, raw, last=kept)
                if line is not kept:
                    access[name] = line
            else:
                after = _applied(before, kind, rest, raw)
            if name in last.problems:
                problems[name] = None
        except ValidationError as error:
            problems[name] = Problem(name, revision, tuple(problems_of(error)))
        except ValueError as error:
            problems[name] = Problem(name, revision, (str(error),))
        if after is not before:
            models[model] = after
    return Snapshot(
        revision=revision,
        models=last.models.updated(
            {name: model if model.lines() else None for name, model in models.items()}
        ),
        problems=last.problems.updated(problems),
        access=last.access.updated(access),
    )


def _applied(before: Model, kind: str, rest: str, raw: bytes | None) -> Model:
    """The model with this document, or the very same one when the document is not news."""
    if kind == "route":
        kept = before.route
        line = None if raw is None else route_line(rest, raw, last=kept)
        return before if line is kept else before.with_route(line)
    model, _, version = rest.partition("/")
    if kind == "standing":
        known = None if before.standings is None else before.standings.get(version)
        line = None if raw is None else standing_line(model, version, raw, last=known)
        return before if line is known else before.with_standing(version, line)
    kept = before.versions.get(version)
    line = None if raw is None else version_line(model, version, raw, last=kept)
    return before if line is kept else before.with_version(version, line)
