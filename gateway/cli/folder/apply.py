"""Brings an installation to what a folder says: policies first, so that routes are judged by those that come
with them, then all routes in one commit, then what is to go, then aliases.

Each act is a commit of its own at the control API. Where one fails, those before it stay: what was done, what
was not, and that the same command may simply be repeated is said, and the failure decides the exit code.
Versions and keys are only compared. Called by `turnout apply --dir`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any, TypeVar

from pydantic import ValidationError

from gateway.cli.folder.diff import APPLIED, Item, Kind, compared
from gateway.cli.folder.installed import Installed, installed
from gateway.cli.folder.layout import Folder
from gateway.cli.session import How, Session, report_applied, report_change
from gateway.cli.starting import with_workers
from gateway.contract.alias import follower
from gateway.contract.errors import TurnoutError
from gateway.contract.route import Route
from gateway.core.diff import differences

T = TypeVar("T")
HISTORY = 100  # changes of a route that are looked through: a rollout has fewer
BATCH = 256  # routes that the control API takes at once
_WISHED = frozenset({Kind.MISSING, Kind.DIFFERS})


@dataclass(frozen=True, slots=True)
class Comparison:
    """`expected`: the revisions of the routes that were compared."""

    wanted: Folder
    found: Installed
    items: tuple[Item, ...]
    expected: Mapping[str, int]

    @property
    def drift(self) -> bool:
        return bool(self.found.problems) or any(item.is_drift for item in self.items)

    def of(self, part: str, kinds: frozenset[Kind]) -> list[Item]:
        return [item for item in self.items if item.part == part and item.kind in kinds]


@dataclass(frozen=True, slots=True)
class Act:
    """`do` gives an exit code."""

    words: str
    do: Callable[[], int]


def compare_with_installed(session: Session, wanted: Folder) -> Comparison:
    found = installed(session.client, wanted.parts)
    documents = list((wanted.routes or {}).values())
    changes: dict[str, tuple[str, ...]] = {}
    expected: dict[str, int] = {}
    for batch in _batches(documents):
        for result in session.client.post("diff", body={"documents": batch})["results"]:
            changes[result["model"]] = tuple(result["changes"])
            expected[result["model"]] = result["revision"]
    moved = {
        model
        for model, differs in changes.items()
        if differs
        and expected[model]
        and _is_before_move(session, (wanted.routes or {})[model], expected[model])
    }
    return Comparison(wanted, found, compared(wanted, found, changes, moved), expected)


def _is_before_move(session: Session, document: Mapping[str, Any], revision: int) -> bool:
    """Is this the form of before its last rollout or alias moved it, and was nothing changed since?"""
    model = str(document["model"])
    before = _before_rollout(session, model, revision) or _before_alias(session, model)
    try:
        return before is not None and not differences(
            Route.model_validate(before), Route.model_validate(document)
        )
    except ValidationError:
        return False


def _before_rollout(session: Session, model: str, revision: int) -> Mapping[str, Any] | None:
    """None: there was no rollout, it did not succeed, or somebody changed the route since."""
    try:
        rollout = session.client.get("models", model, "rollout")
    except TurnoutError as error:
        if error.code != "not_found":
            raise
        return None
    if rollout["phase"] != "succeeded" or revision > rollout["revision"]:
        return None
    history = session.client.get("routes", model, "history", limit=HISTORY)["history"]
    return next((entry["document"] for entry in history if entry["at_ms"] < rollout["started_ms"]), None)


def _before_alias(session: Session, model: str) -> Mapping[str, Any] | None:
    """The last form that no alias made; None: the last change was not an alias's."""
    history = session.client.get("routes", model, "history", limit=HISTORY)["history"]
    moves = list(takewhile(lambda entry: str(entry["author"]).startswith(follower("")), history))
    return history[len(moves)]["document"] if moves and len(moves) < len(history) else None


def tell(session: Session, comparison: Comparison) -> None:
    for item in comparison.items:
        for line in item.lines():
            session.out.line(line)
    for problem in comparison.found.problems:
        session.out.warning(problem)
    if comparison.wanted.roles is not None and comparison.found.folder.roles is None:
        session.out.warning("keys are not compared: only admins see them")


def apply_folder(session: Session, wanted: Folder, *, how: How, prune: bool) -> int:
    """Exit code: 0 the installation is as the folder says, 1 gateways are behind, 2 versions or keys of the
    folder are missing or others."""
    comparison = compare_with_installed(session, wanted)
    tell(session, comparison)
    acts = _acts(session, comparison, how=how, prune=prune)
    if how.dry_run:
        _try_routes(session, comparison, how)
        done: list[str] = []
        code = 0
        session.out.dry_run(f"{len(acts)} changes would be made")
    else:
        done, code = _perform(session, acts)
        session.out.line(f"{len(done)} changes made" if done else "nothing to change")
    left = [item for item in comparison.items if item.is_drift and not _is_done(item, prune=prune)]
    _tell_left(session, left)
    told = {
        "dry_run": how.dry_run, "items": [item.told() for item in comparison.items],
        "acts": [act.words for act in acts], "done": done, "left": [item.told() for item in left],
    }  # fmt: skip
    session.out.value(told)
    is_short = any(item.kind in _WISHED for item in left)
    return code or (2 if is_short else 0)


def _is_done(item: Item, *, prune: bool) -> bool:
    return item.part in APPLIED and (item.kind in _WISHED or (prune and item.kind is Kind.SURPLUS))


def _tell_left(session: Session, left: Sequence[Item]) -> None:
    for item in left:
        if item.kind is Kind.MOVED:
            session.out.warning(f"{item.part} {item.name} stays as its rollout or alias made it")
        elif item.part in APPLIED:
            session.out.warning(f"{item.part} {item.name} is not in the folder: --prune would remove it")
        elif item.kind in _WISHED:
            how = f": {item.command}" if item.command else "; a version never changes: choose another name"
            session.out.failure(f"{item.part} {item.name} is not as the folder says, and not by `apply`{how}")


def _perform(session: Session, acts: Sequence[Act]) -> tuple[list[str], int]:
    done: list[str] = []
    code = 0
    for index, act in enumerate(acts):
        try:
            code = max(code, act.do())
        except TurnoutError as error:
            left = [other.words for other in acts[index + 1 :]]
            session.out.failure(f"stopped at: {act.words}")
            session.out.failure(f"done before it: {'; '.join(done) or 'nothing'}")
            session.out.failure(f"not tried: {'; '.join(left) or 'nothing more'}")
            session.out.failure("what was done stays; the same command again goes on from here")
            data = {**error.data, "done": done, "stopped_at": act.words, "not_tried": left}
            raise TurnoutError(error.code, error.message, **data) from None
        done.append(act.words)
    return done, code


def _acts(session: Session, comparison: Comparison, *, how: How, prune: bool) -> list[Act]:
    goes = frozenset({Kind.SURPLUS}) if prune else frozenset()
    return [
        *_policy_acts(session, comparison, goes, how),
        *_route_acts(session, comparison, goes, how),
        *_alias_acts(session, comparison, goes, how),
    ]


def _policy_acts(session: Session, comparison: Comparison, goes: frozenset[Kind], how: How) -> Iterator[Act]:
    policies = comparison.wanted.policies or {}

    def write(name: str) -> int:
        body = {"policy": policies[name].model_dump(mode="json"), "reason": how.reason}
        result = session.client.put("policies", name, body=body)
        session.out.line(f"policy {name} written (revision {result['revision']})")
        return 0

    def remove(name: str) -> int:
        result = session.client.delete("policies", name, reason=how.reason)
        session.out.line(f"policy {name} removed (revision {result['revision']})")
        return 0

    for item in comparison.of("policy", _WISHED):
        yield Act(f"write policy {item.name}", partial(write, item.name))
    for item in comparison.of("policy", goes):
        yield Act(f"remove policy {item.name}", partial(remove, item.name))


def _route_acts(session: Session, comparison: Comparison, goes: frozenset[Kind], how: How) -> Iterator[Act]:
    def write(models: Sequence[str]) -> int:
        result = _send_routes(session, comparison, models, how)
        for route in result["results"]:
            report_change(session, route, how=how)
        return report_applied(session, result["applied"], result["revision"])

    def remove(model: str) -> int:
        expected = comparison.found.route_revisions[model]
        body = {**how.body(), "edit": {"kind": "delete"}, "expected_revision": expected}
        result = session.client.post("routes", model, "edit", body=body)
        report_change(session, result, how=how)
        return report_applied(session, result["applied"], result["revision"])

    for models in _batches([item.name for item in comparison.of("route", _WISHED)]):
        yield Act(f"write routes {', '.join(models)}", partial(write, models))
    for item in comparison.of("route", goes):
        yield Act(f"remove the route of {item.name}", partial(remove, item.name))


def _alias_acts(session: Session, comparison: Comparison, goes: frozenset[Kind], how: How) -> Iterator[Act]:
    wanted, expected = comparison.wanted.aliases or {}, dict(comparison.found.alias_revisions)

    def move(model: str, alias: str) -> int:
        body = {
            "version": wanted.get((model, alias)), "reason": how.reason,
            "expected_revision": expected.get(model, 0), "force": how.force,
        }  # fmt: skip
        result = session.client.put("models", model, "aliases", alias, body=body)
        expected[model] = result["revision"]
        session.out.line(f"{alias} of {model} is {body['version'] or 'gone'} (revision {result['revision']})")
        for warning in result["warnings"]:
            session.out.warning(warning)
        return 0

    for item in comparison.of("alias", _WISHED | goes):
        model, alias = item.name.split(" ")
        yield Act(f"move alias {alias} of {model}", partial(move, model, alias))


def _try_routes(session: Session, comparison: Comparison, how: How) -> None:
    """What pools and the present policies say to the routes; raises where they refuse."""
    for models in _batches([item.name for item in comparison.of("route", _WISHED)]):
        for route in _send_routes(session, comparison, models, how)["results"]:
            for warning in route["warnings"]:
                session.out.warning(warning)


def _send_routes(
    session: Session, comparison: Comparison, models: Sequence[str], how: How
) -> Mapping[str, Any]:
    documents = [(comparison.wanted.routes or {})[model] for model in models]
    expected = {model: comparison.expected[model] for model in models}
    body = {**how.body(), "documents": documents, "expected_revisions": expected}
    del body["expected_revision"]
    return with_workers(session, lambda: session.client.post("apply", body=body), within_s=how.start_s)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
