"""One change of one or several routes: read, edit, check, commit, wait.

All routes of a change are one commit: it is applied whole or not at all, and only if every route still has
the revision that was read here (or the one that the operator expects). Losing that comparison is a conflict
that says what changed and who changed it. Nothing is retried behind the operator's back but the very same
commit, under the same operation id, when its answer was lost.

Called by the handlers of `control.api` and by `control.routing.cutover`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.contract import keys
from gateway.contract.access import Role
from gateway.contract.envelope import Envelope
from gateway.contract.errors import CallerError, ConflictError, UpstreamError
from gateway.contract.rollout import Phase
from gateway.contract.route import Route
from gateway.control.parts import Parts
from gateway.control.pools.report import ready_workers
from gateway.control.registry.versions import added_versions, versions_of
from gateway.control.rollouts.found import readable_rollout
from gateway.control.routing.applied import Applied, wait_until_served
from gateway.control.routing.follow_check import check_follow
from gateway.control.routing.governance import broken_by_change, refuse
from gateway.control.routing.stored import Stored, read_stored, readable
from gateway.core.broken import Broken
from gateway.core.check import check_route
from gateway.core.diff import Difference, differences
from gateway.core.edit import Delete, Edit, Edited, Replace, Rollback, edit_route
from gateway.store.documents import Change, Committed, new_operation_id

_HISTORY_READ = 1000  # as many as the store keeps: a rollback may name any of them


@dataclass(frozen=True, slots=True)
class Intent:
    """Who wants the change, why, and how far it may go; `wait_s` 0 does not wait for gateways."""

    author: str
    reason: str = ""
    dry_run: bool = False
    force: bool = False
    wait_s: float = 0.0
    role: Role = Role.ADMIN


@dataclass(frozen=True, slots=True)
class Planned:
    """What a route is and what it shall become (None = deleted)."""

    stored: Stored
    route: Route | None
    notes: tuple[str, ...] = ()
    is_return: bool = False  # it was like this before: a rollback

    @property
    def differences(self) -> tuple[Difference, ...]:
        return differences(self.stored.route, self.route)

    @property
    def is_change(self) -> bool:
        return bool(self.differences or self.stored.problems)


@dataclass(frozen=True, slots=True)
class Result:
    """`revision` is the route's after the change; on a dry run the one before it."""

    model: str
    changed: bool
    previous_revision: int
    revision: int
    differences: tuple[Difference, ...]
    document: dict[str, Any] | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """`revision` is None where nothing was committed; `applied` where nobody waited."""

    revision: int | None
    dry_run: bool
    results: tuple[Result, ...]
    applied: Applied | None


async def plan(parts: Parts, model: str, edit: Edit, *, expected_revision: int | None) -> Planned:
    """Reads the route and edits it; raises if it is not the expected one or cannot be edited so."""
    stored = await read_expected(parts, model, expected_revision=expected_revision)
    if isinstance(edit, Delete) and stored.exists:
        edited = Edited(None)
    else:
        if stored.route is None and stored.exists and not isinstance(edit, Replace | Rollback):
            raise _unreadable(stored)
        history = await _history(parts, stored) if isinstance(edit, Rollback) else ()
        edited = edit_route(model, stored.route, edit, history=history)
    return Planned(stored, edited.route, edited.notes, is_return=isinstance(edit, Rollback))


async def read_expected(parts: Parts, model: str, *, expected_revision: int | None) -> Stored:
    """The stored route; a `conflict` if the operator expects another revision of it."""
    stored = await read_stored(parts.documents, model)
    if expected_revision is not None and expected_revision != stored.revision:
        raise await _conflict(parts, model, expected_revision)
    return stored


async def check(
    parts: Parts, planned: Sequence[Planned], *, force: bool, reason: str = "", role: Role = Role.ADMIN
) -> dict[str, tuple[str, ...]]:
    """Warnings by model. Raises every problem of every route at once, then every refusal unless forced.

    What policy refuses takes a `reason` as well and the `role` that it names; some of it cannot be forced.
    """
    fleet = await parts.fleet.workers()
    problems: list[str] = []
    refusals: list[str] = []
    warnings: dict[str, tuple[str, ...]] = {}
    lacking: list[dict[str, str]] = []
    for item in planned:
        model = item.stored.model
        warnings[model] = item.notes + await _of_rollout(parts, item)
        if item.route is None:
            continue
        versions = await versions_of(parts.documents, model)
        found = check_route(
            item.route,
            before=item.stored.route,
            versions=versions,
            ready=ready_workers(fleet.leases, versions),
        )
        wrong, notes = await check_follow(parts, item.route, before=item.stored.route)
        found_problems = found.problems + (() if item.is_return else wrong)
        warnings[model] += notes + (wrong if item.is_return else ())
        problems += [problem if len(planned) == 1 else f"{model}.{problem}" for problem in found_problems]
        refusals += found.refusals
        lacking += [{"model": model, "version": version} for version in found.without_workers]
        warnings[model] += found.warnings + (found.refusals if force else ())
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CallerError("invalid_document", problems[0] + more, problems=problems)
    broken: list[Broken] = []
    for item in planned:
        if item.route is not None and item.is_change:
            broken += await broken_by_change(
                parts, before=item.stored.route, after=item.route, is_return=item.is_return
            )
    overridden = refuse(broken, force=force, reason=reason, role=role)
    if refusals and not force:  # after policy: nobody shall start workers for what it refuses
        raise CallerError("refused", "; ".join(refusals), refusals=refusals, without_workers=lacking)
    if overridden:
        warnings[planned[0].stored.model] += overridden
    return warnings


async def commit(
    parts: Parts, planned: Sequence[Planned], *, warnings: dict[str, tuple[str, ...]], intent: Intent
) -> Changed:
    """Writes what differs in one commit and waits for the gateways; a dry run writes nothing."""
    changing = [item for item in planned if item.is_change]
    started = time.perf_counter()
    committed, applied = None, None
    if changing and not intent.dry_run:
        against = [warning for item in changing for warning in warnings.get(item.stored.model, ())]
        forced = (against or ["nothing stood against it"]) if intent.force else []
        committed = await _commit_once(parts, changing, intent, forced)
    if intent.wait_s > 0 and not intent.dry_run:
        revision = max((item.stored.revision for item in planned), default=0)
        applied = await wait_until_served(
            parts.fleet,
            committed.revision if committed else revision,
            within_s=min(intent.wait_s, parts.settings.max_wait_s),
            since=started,
        )
    return Changed(
        revision=committed.revision if committed else None,
        dry_run=intent.dry_run,
        results=tuple(_result(item, committed, warnings.get(item.stored.model, ())) for item in planned),
        applied=applied,
    )


def document_of(route: Route | None) -> dict[str, Any] | None:
    """What is written into Redis: every setting spelled out, so that a new default changes no old route."""
    return None if route is None else route.model_dump(mode="json", exclude_none=True)


async def _commit_once(
    parts: Parts, planned: Sequence[Planned], intent: Intent, forced: Sequence[str]
) -> Committed:
    changes = [
        Change(
            keys.route_field(item.stored.model),
            document_of(item.route),
            expected_revision=item.stored.revision,
            is_return=item.is_return,
        )
        for item in planned
    ]
    requires = {
        field: None for item in planned for field in added_versions(item.route, before=item.stored.route)
    }
    op_id = new_operation_id()

    async def attempt() -> Committed:
        return await parts.documents.commit(
            changes, author=intent.author, reason=intent.reason, op_id=op_id, forced=forced, requires=requires
        )

    try:
        try:
            return await attempt()
        except UpstreamError:
            return await attempt()
    except ConflictError as error:
        field = str(error.data.get("field", ""))
        if field in requires:
            _, model, version = field.split("/", 2)
            raise CallerError("unknown_version", f"version {version} of {model} was removed now") from None
        if not field:
            raise  # the operation id was used for another change
        expected = {change.field: change.expected_revision or 0 for change in changes}
        raise await _conflict(parts, field.removeprefix("route/"), expected[field]) from None
    except UpstreamError as error:
        raise UpstreamError(
            "store_away",
            f"{error.message} The change may or may not have been written: look before you repeat it.",
        ) from None


async def _of_rollout(parts: Parts, item: Planned) -> tuple[str, ...]:
    """What this change does to a rollout that is going on."""
    model = item.stored.model
    envelope = await parts.documents.get(keys.rollout_field(model)) if item.is_change else None
    found = None if envelope is None else readable_rollout(envelope)
    if found is None or found.rollout.is_over:
        return ()
    effect = "this change pauses it" if found.rollout.phase is Phase.RUNNING else "it has to be resumed"
    return (
        f"a rollout of {model} to {found.rollout.candidate} is {found.rollout.phase}: {effect} "
        f"(`turnout rollout status {model}`)",
    )


async def _history(parts: Parts, stored: Stored) -> list[Envelope]:
    """With a form that was edited by hand in front, so that the last committed one counts as earlier."""
    field = keys.route_field(stored.model)
    history = await parts.documents.history(field, limit=_HISTORY_READ)
    if not stored.problems:
        return history
    by_hand = Envelope(field=field, revision=0, at_ms=0, author="", reason="", doc=stored.document)
    return [by_hand, *history]


async def _conflict(parts: Parts, model: str, expected: int) -> ConflictError:
    """What happened to the route since the revision that the operator had in mind."""
    stored = await read_stored(parts.documents, model)
    history = await parts.documents.history(keys.route_field(model), limit=_HISTORY_READ)
    base = next((entry.doc for entry in history if entry.revision == expected), None)
    before = readable(model, base)[0] if base is not None else None
    author, at_ms, reason = ("", 0, "") if stored.last is None else (
        stored.last.author, stored.last.at_ms, stored.last.reason
    )  # fmt: skip
    if stored.revision == 0:
        said = f"{model} has no route, but revision {expected} of it was expected"
    elif expected > stored.revision:
        said = f"revision {expected} of {model} was expected, but its newest is {stored.revision}"
    else:
        why = f" ({reason})" if reason else ""
        said = f"{author} changed {model} in revision {stored.revision}{why}; this change expected {expected}"
    return ConflictError(
        "conflict",
        f"{said}: look at it with `turnout route show {model}` and decide again",
        model=model,
        expected_revision=expected,
        current_revision=stored.revision,
        author=author,
        at_ms=at_ms,
        reason=reason,
        changes=[str(change) for change in differences(before, stored.route)],
    )


def _unreadable(stored: Stored) -> CallerError:
    return CallerError(
        "invalid_document",
        f"the route of {stored.model} in Redis cannot be read, so it cannot be edited: put its last form "
        f"back with `turnout route rollback {stored.model}`, or write a whole one with `turnout route set`",
        problems=list(stored.problems),
    )


def _result(item: Planned, committed: Committed | None, warnings: tuple[str, ...]) -> Result:
    is_written = committed is not None and item.is_change
    return Result(
        model=item.stored.model,
        changed=item.is_change,
        previous_revision=item.stored.revision,
        revision=committed.revision if committed is not None and is_written else item.stored.revision,
        differences=item.differences,
        document=document_of(item.route),
        warnings=warnings,
    )
