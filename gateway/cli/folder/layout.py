"""An installation as a folder of files: how it is read and written. What is in it is in `contract.folder`.

    routes/*.yaml  policies/*.yaml  versions.yaml  aliases.yaml  roles.yaml

A part that is not there (no `aliases.yaml`, no folder `routes`) is None: it is neither compared nor changed.
Of files in `routes` and `policies` any name will do. Called by `turnout export|diff|apply --dir`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from gateway.cli.folder.files import read_documents, write_documents
from gateway.contract.folder import AliasesOf, RoleEntry, VersionEntry, VersionsOf
from gateway.contract.policy import Policy
from gateway.contract.route import Document, problems_of

MAX_BYTES = 64 * 1024 * 1024  # of versions.yaml: 50,000 versions
HEADER = "# Written by `turnout export --dir`.\n"
_SUFFIXES = frozenset({".yaml", ".yml"})
D = TypeVar("D", bound=Document)


@dataclass(frozen=True, slots=True)
class Folder:
    """`routes` and `policies` by name; `versions` and `aliases` by (model, version or alias)."""

    routes: dict[str, dict[str, Any]] | None = None
    policies: dict[str, Policy] | None = None
    versions: dict[tuple[str, str], VersionEntry] | None = None
    aliases: dict[tuple[str, str], str] | None = None
    roles: dict[str, RoleEntry] | None = None

    @property
    def parts(self) -> list[str]:
        """The names of those that are there."""
        names = ("routes", "policies", "versions", "aliases", "roles")
        return [name for name in names if getattr(self, name) is not None]


def read_folder(directory: Path) -> Folder:
    """Everything in it, checked as far as is possible without the installation; UsageError with the place."""
    if not directory.is_dir():
        raise click.UsageError(f"{directory} is not a folder: `turnout export --dir {directory}` makes one")
    found = Folder(
        routes=_routes(directory / "routes"),
        policies=_policies(directory / "policies"),
        versions=_versions(directory / "versions.yaml"),
        aliases=_aliases(directory / "aliases.yaml"),
        roles=_roles(directory / "roles.yaml"),
    )
    if not found.parts:
        raise click.UsageError(
            f"{directory} has neither routes nor policies, versions.yaml, aliases.yaml or roles.yaml"
        )
    return found


def write_folder(directory: Path, folder: Folder) -> list[str]:
    """Writes what is there, removes what was written earlier and is no more; gives warnings."""
    warnings: list[str] = []
    try:
        if folder.routes is not None:
            warnings += _write_each(directory / "routes", folder.routes)
        if folder.policies is not None:
            told = {name: _plain(policy) for name, policy in folder.policies.items()}
            warnings += _write_each(directory / "policies", told)
        if folder.versions is not None:
            entries = {key: _plain(entry) for key, entry in folder.versions.items()}
            _write(directory / "versions.yaml", list(_by_model(entries, "versions")))
        if folder.aliases is not None:
            named = {key: {"alias": key[1], "version": version} for key, version in folder.aliases.items()}
            _write(directory / "aliases.yaml", list(_by_model(named, "aliases")))
        if folder.roles is not None:
            _write(directory / "roles.yaml", [_plain(role) for role in folder.roles.values()])
    except OSError as error:
        raise click.UsageError(f"{error.filename or directory}: {error.strerror}") from None
    return warnings


def _routes(directory: Path) -> dict[str, dict[str, Any]] | None:
    found: dict[str, dict[str, Any]] = {}
    for place, document in _each(directory):
        model = document.get("model")
        if not isinstance(model, str):
            raise click.UsageError(f"{place}: a route document begins with `model:`")
        if model in found:
            raise click.UsageError(f"{place}: another file is about {model}, too")
        found[model] = document
    return found if directory.is_dir() else None


def _policies(directory: Path) -> dict[str, Policy] | None:
    found: dict[str, Policy] = {}
    for place, document in _each(directory):
        policy = _valid(Policy, place, document)
        if policy.policy in found:
            raise click.UsageError(f"{place}: another file is about policy {policy.policy}, too")
        found[policy.policy] = policy
    return found if directory.is_dir() else None


def _versions(file: Path) -> dict[tuple[str, str], VersionEntry] | None:
    found: dict[tuple[str, str], VersionEntry] = {}
    for said in _all(VersionsOf, file):
        for entry in said.versions:
            _once(file, found, (said.model, entry.version))
            found[said.model, entry.version] = entry
    return found if file.is_file() else None


def _aliases(file: Path) -> dict[tuple[str, str], str] | None:
    found: dict[tuple[str, str], str] = {}
    for said in _all(AliasesOf, file):
        for entry in said.aliases:
            _once(file, found, (said.model, entry.alias))
            found[said.model, entry.alias] = entry.version
    return found if file.is_file() else None


def _roles(file: Path) -> dict[str, RoleEntry] | None:
    found: dict[str, RoleEntry] = {}
    for entry in _all(RoleEntry, file):
        if entry.name in found:
            raise click.UsageError(f"{file}: {entry.name} is in it twice")
        found[entry.name] = entry
    return found if file.is_file() else None


def _each(directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, document) of every YAML file directly in it."""
    for file in _files(directory):
        for document in read_documents(str(file), may_be_empty=True):
            yield str(file), document


def _files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(file for file in directory.iterdir() if file.suffix in _SUFFIXES and file.is_file())


def _all(kind: type[D], file: Path) -> Iterator[D]:
    if file.is_file():
        for document in read_documents(str(file), may_be_empty=True, max_bytes=MAX_BYTES):
            yield _valid(kind, str(file), document)


def _valid(kind: type[D], place: str, document: dict[str, Any]) -> D:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise click.UsageError(f"{place}: " + "; ".join(problems_of(error))) from None


def _once(file: Path, found: dict[tuple[str, str], Any], key: tuple[str, str]) -> None:
    if key in found:
        raise click.UsageError(f"{file}: {key[0]} {key[1]} is in it twice")


def _write_each(directory: Path, documents: dict[str, dict[str, Any]]) -> Iterator[str]:
    """One file for each document. What people wrote under other names stays."""
    directory.mkdir(parents=True, exist_ok=True)
    written = {directory / f"{name}.yaml": [document] for name, document in documents.items()}
    for file in _files(directory):
        if file in written:
            continue
        if file.read_text(errors="replace").startswith(HEADER):
            file.unlink()
            yield f"{file} is removed: what it was about is not installed any more"
        else:
            yield f"{file} is left as it is: it was not written by `turnout export`"
    for file, content in written.items():
        _write(file, content)


def _write(file: Path, documents: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(HEADER + (write_documents(documents) if documents else ""))


def _by_model(entries: dict[tuple[str, str], dict[str, Any]], name: str) -> Iterable[dict[str, Any]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for (model, _), entry in sorted(entries.items()):
        found.setdefault(model, []).append(entry)
    return ({"model": model, name: those} for model, those in found.items())


def _plain(document: Document) -> dict[str, Any]:
    return document.model_dump(mode="json", exclude_defaults=True)
