"""In what do a folder and an installation differ, and which command mends what `apply` must not?

Pure: both come as values; the differences of routes are asked of the control API by the caller. A model whose
rollout goes on is told apart (`Kind.BUSY`): until it ends its route is the rollout's, and no drift. Called by
`turnout diff --dir` and `turnout apply --dir`.
"""

import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from gateway.cli.folder.installed import Installed
from gateway.cli.folder.layout import Folder
from gateway.contract.folder import RoleEntry, VersionEntry


class Kind(StrEnum):
    MISSING = "missing"  # in the folder only
    DIFFERS = "differs"
    SURPLUS = "surplus"  # installed only
    BUSY = "busy"  # a route that a rollout is moving
    MOVED = "moved"  # a route that a rollout or an alias has moved; the folder has its form before


_WORDS = {
    Kind.MISSING: "is in the folder and not installed",
    Kind.DIFFERS: "differs",
    Kind.SURPLUS: "is installed and not in the folder",
    Kind.BUSY: "is left alone: its rollout goes on",
    Kind.MOVED: "was moved by a rollout or its alias since the folder was written: export and commit it",
}
APPLIED = frozenset({"route", "policy", "alias"})  # what `apply` changes; the others it only compares


@dataclass(frozen=True, slots=True)
class Item:
    """`name` is `digits`, or `digits champion`; `command` is what would mend it by hand."""

    part: str
    name: str
    kind: Kind
    changes: tuple[str, ...] = ()
    command: str = ""

    @property
    def is_drift(self) -> bool:
        return self.kind is not Kind.BUSY

    def lines(self) -> Iterator[str]:
        yield f"{self.part} {self.name} {_WORDS[self.kind]}"
        yield from (f"  {change}" for change in self.changes)
        if self.command:
            yield f"  $ {self.command}"

    def told(self) -> dict[str, Any]:
        return asdict(self)


def compared(
    wanted: Folder,
    found: Installed,
    route_changes: Mapping[str, tuple[str, ...]],
    moved: Collection[str] = (),
) -> tuple[Item, ...]:
    """In the order in which `apply` goes: policies, routes, aliases; then versions and keys.

    `route_changes`: model -> differences, of the routes of the folder. `moved`: models whose rollout or alias
    made the present route, out of what the folder says.
    """
    present = found.folder
    return (
        *_policies(wanted, present),
        *_routes(wanted, found, route_changes, moved),
        *_aliases(wanted, present),
        *_versions(wanted, present),
        *_keys(wanted, found),
    )


def _policies(wanted: Folder, present: Folder) -> Iterator[Item]:
    if wanted.policies is None or present.policies is None:
        return
    for name in sorted(wanted.policies.keys() | present.policies.keys()):
        wish, now = wanted.policies.get(name), present.policies.get(name)
        if wish is None:
            yield Item("policy", name, Kind.SURPLUS)
        elif now is None:
            yield Item("policy", name, Kind.MISSING)
        elif changes := _changes(now.model_dump(mode="json"), wish.model_dump(mode="json")):
            yield Item("policy", name, Kind.DIFFERS, changes)


def _routes(
    wanted: Folder,
    found: Installed,
    route_changes: Mapping[str, tuple[str, ...]],
    moved: Collection[str],
) -> Iterator[Item]:
    if wanted.routes is None:
        return
    # A route that cannot be read is in `route_revisions`, but not in the folder of what is installed.
    for model in sorted(wanted.routes.keys() | found.route_revisions.keys()):
        changes = route_changes.get(model, ())
        if model in wanted.routes and not changes:
            continue
        if model in found.rolling:
            command = f"turnout rollout status {model}"
            yield Item("route", model, Kind.BUSY, changes, command)
        elif model in moved:
            yield Item("route", model, Kind.MOVED, changes)
        elif model not in wanted.routes:
            yield Item("route", model, Kind.SURPLUS)
        elif model not in found.route_revisions:
            yield Item("route", model, Kind.MISSING, changes)
        else:
            yield Item("route", model, Kind.DIFFERS, changes)


def _aliases(wanted: Folder, present: Folder) -> Iterator[Item]:
    if wanted.aliases is None or present.aliases is None:
        return
    for key in sorted(wanted.aliases.keys() | present.aliases.keys()):
        wish, now = wanted.aliases.get(key), present.aliases.get(key)
        if wish != now:
            kind = Kind.SURPLUS if wish is None else Kind.MISSING if now is None else Kind.DIFFERS
            yield Item("alias", " ".join(key), kind, (f"{now or 'none'} -> {wish or 'none'}",))


def _versions(wanted: Folder, present: Folder) -> Iterator[Item]:
    if wanted.versions is None or present.versions is None:
        return
    for key in sorted(wanted.versions.keys() | present.versions.keys()):
        wish, now = wanted.versions.get(key), present.versions.get(key)
        name = " ".join(key)
        if wish is None:
            yield Item("version", name, Kind.SURPLUS)
        elif now is None:
            yield Item("version", name, Kind.MISSING, command=_register(key[0], wish))
        else:
            said = wish.model_dump(mode="json", exclude_unset=True)
            changes = _changes(now.model_dump(mode="json", include=set(said)), said)
            if changes:
                yield Item("version", name, Kind.DIFFERS, changes, _mend(key[0], wish, now))


def _keys(wanted: Folder, found: Installed) -> Iterator[Item]:
    present = found.folder.roles
    if wanted.roles is None or present is None:
        return
    for name in sorted(wanted.roles.keys() | present.keys()):
        wish, now = wanted.roles.get(name), present.get(name)
        revoke = f"turnout key revoke {found.key_ids.get(name, '')}"
        if wish is None:
            yield Item("key", name, Kind.SURPLUS, command=revoke)
        elif now is None:
            yield Item("key", name, Kind.MISSING, command=_create(wish))
        elif changes := _changes(now.model_dump(mode="json"), wish.model_dump(mode="json")):
            yield Item("key", name, Kind.DIFFERS, changes, f"{revoke} && {_create(wish)}")


def _register(model: str, wish: VersionEntry) -> str:
    words = ["turnout", "model", "register", model, "--version", wish.version]
    words += ["--from", wish.source or "FILE"]
    words += ["--owner", wish.owner] if wish.owner else []
    words += [] if wish.workers is None else ["--workers", str(wish.workers)]
    return shlex.join(words)


def _mend(model: str, wish: VersionEntry, now: VersionEntry) -> str:
    """Only the number of workers and the tags of a version may change."""
    if wish.digest != now.digest:
        return ""
    if wish.workers is not None and wish.workers != now.workers:
        return f"turnout pools scale {model} {wish.version} {wish.workers}"
    if wish.tags != now.tags and "tags" in wish.model_fields_set:
        gone = [f"{name}-" for name in sorted(now.tags.keys() - wish.tags.keys())]
        set_ = [f"{name}={value}" for name, value in sorted(wish.tags.items()) if now.tags.get(name) != value]
        return shlex.join(["turnout", "model", "tag", model, wish.version, *set_, *gone])
    return ""


def _create(wish: RoleEntry) -> str:
    words = ["turnout", "key", "create", wish.name, "--role", wish.role.value]
    words += ["--models", ",".join(wish.models)]
    words += ["--pin"] if wish.pin else []
    words += [] if wish.rate_per_s is None else ["--rate", f"{wish.rate_per_s:g}"]
    return shlex.join(words)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """`path: old -> new` for every leaf that differs."""
    was, now = dict(_leaves(before, "")), dict(_leaves(after, ""))
    return tuple(
        f"{path}: {was.get(path, 'none')} -> {now.get(path, 'none')}"
        for path in [*was, *(path for path in now if path not in was)]
        if was.get(path, "none") != now.get(path, "none")
    )


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    match value:
        case {}:
            for name, item in value.items():
                yield from _leaves(item, f"{path}.{name}" if path else name)
        case [dict(), *_]:
            for index, item in enumerate(value):
                yield from _leaves(item, f"{path}.{index}")
        case list():
            yield path, ", ".join(map(str, value)) or "none"
        case None | "":
            yield path, "none"
        case _:
            yield path, str(value)
