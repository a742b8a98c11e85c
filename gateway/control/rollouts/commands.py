"""What a person asks of a rollout: start it, pause, resume, promote or abort it.

The API commits by itself, in the person's name, and needs no controller. A commit that loses against somebody
else is decided anew from what is there now; an abort goes on until it has won or there is nothing left to
abort. Called by the handlers of rollouts.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from gateway.contract import keys
from gateway.contract.access import Role
from gateway.contract.errors import CallerError, ConflictError, UpstreamError
from gateway.contract.plan import Plan
from gateway.contract.pool import Keep, Lease
from gateway.contract.rollout import Rollout
from gateway.control.parts import Parts
from gateway.control.pools.report import ready_workers
from gateway.control.pools.wanted import asked_until_ms, readable_wanted, scale
from gateway.control.registry.versions import unknown_model, versions_of
from gateway.control.rollouts.act import commit_transition
from gateway.control.rollouts.found import Found, find_rollout, the_rollout
from gateway.control.routing.governance import broken_by_plan, refuse
from gateway.control.routing.stored import Stored, read_stored
from gateway.core.check import no_worker
from gateway.core.rollouts.rollout_actions import Commit
from gateway.core.rollouts.rollout_commands import aborted, paused, promoted, resumed, started
from gateway.store.documents import Change

ATTEMPTS = 5  # of a command that loses against others
ABORT_FOR_S = 10.0
AGAIN_S = 0.02

Verb = Literal["pause", "resume", "promote", "abort"]


@dataclass(frozen=True, slots=True)
class Wish:
    """`rollout_id`: only if it is this one."""

    verb: Verb
    author: str
    reason: str = ""
    rollout_id: str | None = None
    keep_route: bool = False  # of an abort: leave the traffic as it is


async def start(
    parts: Parts,
    model: str,
    plan: Plan,
    *,
    author: str,
    reason: str,
    dry_run: bool,
    force: bool = False,
    role: Role = Role.ADMIN,
    beside: Callable[[Rollout], Sequence[Change]] = lambda rollout: (),
    fence: int | None = None,
) -> Found:
    """The rollout at its first step. `beside` is committed with it; `fence`: only while this one leads.

    Raises CallerError with every problem of the plan at once, then with every rule of policy that it breaks.
    """
    plan = plan.model_copy(update={"model": _model_of(plan, model)})
    newest = await find_rollout(parts.documents, model)
    if newest is not None and not newest.rollout.is_over:
        raise _live_already(newest)
    stored = await read_stored(parts.documents, model)
    await _check(parts, plan, stored)
    refuse(await broken_by_plan(parts, plan), force=force, reason=reason, role=role)
    fleet = await parts.fleet.workers()
    await _check_workers(parts, plan, fleet.leases)
    made = started(
        plan,
        route=stored.route,
        route_revision=stored.revision,
        rollout_id=f"r{fleet.now_ms // 1000:x}-{uuid.uuid4().hex[:6]}",
        author=author,
        now_ms=fleet.now_ms,
        reason=reason,
        running=None if newest is None else newest.rollout,
    )
    if dry_run:
        return Found(made.rollout, 0)
    await _enough_workers(parts, made.rollout, author=author, now_ms=fleet.now_ms)
    return await _commit(
        parts,
        made,
        revision=0 if newest is None else newest.revision,
        stored=stored,
        author=author,
        is_new=True,
        beside=beside(made.rollout),
        fence=fence,
    )


async def abort_by_follower(
    parts: Parts, model: str, *, author: str, reason: str, keep_route: bool, fence: int
) -> None:
    """Ends the rollout that goes on, because the alias that began it names another version now."""
    found = await the_rollout(parts.documents, model)
    if not found.rollout.is_over:
        wish = Wish("abort", author=author, reason=reason, keep_route=keep_route)
        await _attempt(parts, found, wish, fence=fence)


async def command(parts: Parts, model: str, wish: Wish) -> Found:
    """The rollout afterwards; an abort of one that is over gives it as it is."""
    until_s = time.monotonic() + ABORT_FOR_S
    attempts = 0
    while True:
        found = await the_rollout(parts.documents, model)
        if wish.rollout_id not in (None, found.rollout.rollout_id):
            raise ConflictError(
                "conflict",
                f"the rollout of {model} is {found.rollout.rollout_id}, not {wish.rollout_id}",
                model=model,
                current_revision=found.revision,
            )
        if wish.verb == "abort" and attempts and found.rollout.is_over:
            return found  # it ended while the abort was tried
        try:
            return await _attempt(parts, found, wish)
        except ConflictError:
            attempts += 1
            if attempts >= ATTEMPTS if wish.verb != "abort" else time.monotonic() > until_s:
                raise
            await asyncio.sleep(AGAIN_S)
        except UpstreamError as error:
            if error.code != "store_away":
                raise
            raise UpstreamError(
                "store_away",
                f"{error.message} The {wish.verb} may or may not have been written: "
                "look when Redis is back, and repeat it.",
            ) from None


async def _attempt(parts: Parts, found: Found, wish: Wish, *, fence: int | None = None) -> Found:
    rollout = found.rollout
    stored = await read_stored(parts.documents, rollout.model)
    now_ms = (await parts.fleet.workers()).now_ms
    made = _decided(rollout, wish, stored, now_ms=now_ms)
    return await _commit(parts, made, revision=found.revision, stored=stored, author=wish.author, fence=fence)


def _decided(rollout: Rollout, wish: Wish, stored: Stored, *, now_ms: int) -> Commit:
    author, reason = wish.author, wish.reason
    match wish.verb:
        case "pause":
            return paused(rollout, author=author, now_ms=now_ms, reason=reason)
        case "resume":
            return resumed(
                rollout, route=stored.route, route_revision=stored.revision, author=author, now_ms=now_ms
            )
        case "promote":
            by = "" if stored.last is None else stored.last.author
            return promoted(
                rollout, route_revision=stored.revision, route_author=by, author=author, now_ms=now_ms
            )
        case "abort":
            return aborted(
                rollout,
                route=stored.route,
                route_revision=stored.revision,
                author=author,
                now_ms=now_ms,
                reason=reason,
                keep_route=wish.keep_route,
            )
        case _:
            assert_never(wish.verb)


async def _commit(
    parts: Parts,
    made: Commit,
    *,
    revision: int,
    stored: Stored,
    author: str,
    is_new: bool = False,
    beside: Sequence[Change] = (),
    fence: int | None = None,
) -> Found:
    committed = await commit_transition(
        parts.documents,
        made.rollout,
        made.route,
        revision=revision,
        present=stored.route,
        route_revision=stored.revision,
        author=author,
        is_new=is_new,
        beside=beside,
        fence=fence,
    )
    return Found(made.rollout.as_of(committed.revision), committed.revision)


async def _enough_workers(parts: Parts, rollout: Rollout, *, author: str, now_ms: int) -> None:
    """The candidate, where it is kept by need, gets as many workers as the version that it shall replace."""
    fields = [keys.wanted_field(rollout.model, name) for name in (rollout.candidate, rollout.baseline)]
    own, other = map(readable_wanted, await parts.documents.several(fields))
    if own is None or other is None or own.keep is not Keep.NEEDED or own.workers >= other.workers:
        return
    await scale(
        parts.documents,
        rollout.model,
        rollout.candidate,
        workers=other.workers,
        until_ms=asked_until_ms(now_ms, keep_warm_s=parts.settings.keep_warm_s),
        author=author,
        reason=f"as many workers as {rollout.baseline} has, for the rollout of {rollout.candidate}",
    )


async def _check(parts: Parts, plan: Plan, stored: Stored) -> None:
    """All problems, each with its path."""
    assert plan.model is not None
    versions = await versions_of(parts.documents, plan.model)
    if not versions:
        raise unknown_model(plan.model)
    problems = [*_versions(plan, set(versions)), *_route(plan, stored)]
    if plan.webhooks and not parts.settings.webhook_secret:
        problems.append("webhooks: nothing signs them; set `control.webhook_secret`")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CallerError("invalid_document", problems[0] + more, problems=problems)


async def _check_workers(parts: Parts, plan: Plan, leases: Sequence[Lease]) -> None:
    """After policy: nobody shall start workers for what it refuses."""
    assert plan.model is not None
    ready = ready_workers(leases, await versions_of(parts.documents, plan.model))
    lacking = [version for version in (plan.candidate, plan.baseline) if version and not ready.get(version)]
    if lacking:
        raise CallerError(
            "refused",
            "; ".join(no_worker(plan.model, version) for version in lacking),
            without_workers=[{"model": plan.model, "version": version} for version in lacking],
        )


def _versions(plan: Plan, known: set[str]) -> Iterator[str]:
    if plan.candidate is None:
        yield "candidate: the plan names none; give the version that shall take over"
    for name, version in (("candidate", plan.candidate), ("baseline", plan.baseline)):
        if version is None:
            continue
        if version not in known:
            yield f"{name}: {plan.model} has no version {version} (it has: {', '.join(sorted(known))})"
    if plan.candidate is not None and plan.candidate == plan.baseline:
        yield "baseline: candidate and baseline are the same version"


def _route(plan: Plan, stored: Stored) -> Iterator[str]:
    if not stored.exists:
        yield f"model: {plan.model} has no route: `turnout route split {plan.model} VERSION=100` makes one"
    elif stored.route is not None:
        if plan.limits.units is not None and stored.route.sticky is None:
            yield f"limits.units: the route of {plan.model} knows no units, because it is not `sticky`"
        for gate in (*plan.gates, *(gate for step in plan.steps for gate in step.gates)):
            if gate.slice is not None and gate.slice not in stored.route.record.slices:
                yield f"gates.{gate.title}: add {gate.slice} to the route's `record.slices`"
    else:
        yield f"model: the route of {plan.model} cannot be read: see `turnout route show {plan.model}`"


def _model_of(plan: Plan, model: str) -> str:
    if plan.model not in (None, model):
        raise CallerError(
            "invalid_document",
            f"model: the plan is about {plan.model}, not {model}",
            problems=[f"model: the plan is about {plan.model}, not {model}"],
        )
    return model


def _live_already(newest: Found) -> ConflictError:
    rollout = newest.rollout
    return ConflictError(
        "conflict",
        f"a rollout of {rollout.model} to {rollout.candidate} is {rollout.phase} already: end it with "
        f"`turnout rollout abort {rollout.model}`, or wait for it",
        model=rollout.model,
        rollout_id=rollout.rollout_id,
        current_revision=newest.revision,
        author=rollout.author,
    )
