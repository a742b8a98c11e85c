"""A blue/green cutover from check to report.

Every ready worker of the version that shall become live must answer a real inference before one request is
moved. Then one commit switches, all gateways are waited for, and what clients saw meanwhile is read from the
evidence. Nothing is undone by itself: the report says what happened, and `--back` is one more switch. It goes
back once: a second one, by somebody in a hurry or by somebody else, would bring back what was left.

Called by the handler of `POST /models/{model}/cutover`.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.contract import keys
from gateway.contract.errors import CallerError, UpstreamError
from gateway.contract.pool import WorkerState
from gateway.contract.route import Route
from gateway.control.parts import Parts
from gateway.control.registry.versions import registered
from gateway.control.routing.applied import Applied
from gateway.control.routing.change import Intent, Planned, check, commit, read_expected
from gateway.control.routing.probe import Checked
from gateway.control.routing.stored import readable
from gateway.core.diff import Difference
from gateway.core.evidence.traffic import Evidence, Traffic, between, traffic
from gateway.core.slots import live_version

BEFORE_MINUTES = 5  # how far back the report looks for what was usual


@dataclass(frozen=True, slots=True)
class Report:
    """`during` covers `observed_s`, from just before the switch until after it; None where nothing was
    switched or the evidence could not be read. `verified`: every live gateway serves the new revision."""

    model: str
    changed: bool
    dry_run: bool
    came_from: str | None
    to: str
    previous_revision: int
    revision: int
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]
    checked: tuple[Checked, ...]
    applied: Applied | None
    verified: bool
    before: Traffic | None
    during: Traffic | None
    observed_s: float


async def cut(
    parts: Parts,
    model: str,
    switch: Callable[[Route], Route],
    *,
    expected_revision: int | None,
    intent: Intent,
    observe_s: float,
    is_return: bool,
) -> Report:
    """`switch` is `core.slots.cut_over` or, with `is_return`, `cut_back`."""
    stored = await read_expected(parts, model, expected_revision=expected_revision)
    if stored.route is None:
        raise CallerError(
            "no_route" if not stored.exists else "invalid_document",
            f"{model} has no readable route to cut over: see `turnout route show {model}`",
            problems=list(stored.problems),
        )
    planned = Planned(stored, switch(stored.route), is_return=is_return)
    to = live_version(planned.route) if planned.route is not None else None
    assert to is not None, "slots always have a live version"
    if is_return:
        await _refuse_twice(parts, model, to)
    warnings = await check(parts, [planned], force=intent.force, reason=intent.reason, role=intent.role)
    checked = await _check_workers(parts, model, to)
    unwell = [f"worker {item.address} {item.problem}" for item in checked if item.problem is not None]
    if unwell and not intent.force:
        raise CallerError(
            "refused",
            f"version {to} of {model} is not fit to go live: {'; '.join(unwell)}",
            refusals=unwell,
            checked=[{"worker_id": item.worker_id, "problem": item.problem} for item in checked],
        )
    earlier = await _evidence(parts, model)
    started = time.perf_counter()
    changed = await commit(parts, [planned], warnings=warnings, intent=intent)
    later, observed_s = None, 0.0
    if changed.revision is not None:
        await asyncio.sleep(observe_s)
        later = await _evidence(parts, model)
        observed_s = time.perf_counter() - started
    result = changed.results[0]
    return Report(
        model=model,
        changed=result.changed,
        dry_run=intent.dry_run,
        came_from=live_version(stored.route),
        to=to,
        previous_revision=result.previous_revision,
        revision=result.revision,
        differences=result.differences,
        warnings=result.warnings + tuple(unwell),
        checked=tuple(checked),
        applied=changed.applied,
        verified=changed.applied is not None and changed.applied.complete and changed.applied.of > 0,
        before=None if earlier is None else traffic(earlier),
        during=None if earlier is None or later is None else traffic(between(earlier, later)),
        observed_s=round(observed_s, 2),
    )


async def _refuse_twice(parts: Parts, model: str, to: str) -> None:
    """If `to` is what the last change went back from."""
    entries = await parts.documents.history(keys.route_field(model), limit=2)
    if len(entries) < 2 or not entries[0].is_return:
        return
    last, left = entries[0], readable(model, entries[1].doc)[0]
    if left is not None and live_version(left) == to:
        raise CallerError(
            "refused",
            f"{model} went back from version {to} already, in revision {last.revision} by {last.author}, so "
            f"nothing was changed: `turnout cutover {model} --to {to}` makes it live again",
            went_back_in=last.revision,
        )


async def _check_workers(parts: Parts, model: str, version: str) -> list[Checked]:
    found, _ = await registered(parts.documents, model, version)
    leases = [
        lease
        for lease in (await parts.fleet.workers()).leases
        if (lease.model, lease.version, lease.digest) == (model, version, found.digest)
        and lease.state is WorkerState.READY
    ]
    return await parts.probe.check_all(leases, found)


async def _evidence(parts: Parts, model: str) -> Evidence | None:
    """The last minutes; None if they cannot be read, which must not make a switch look like a failure."""
    try:
        minute = (await parts.fleet.workers()).now_ms // 60_000
        return await parts.predictions.evidence(model, minute - BEFORE_MINUTES, minute + 1)
    except UpstreamError:
        return None
