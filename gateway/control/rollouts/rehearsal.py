"""A plan played with the evidence that was recorded: what would have happened, and when.

The rules are the real ones (`core.rollouts.rehearse`); it runs in a thread, because a day of minutes takes
seconds. Called by the handlers of rollouts.
"""

import asyncio
from typing import Any

from gateway.contract.errors import CallerError
from gateway.contract.plan import Plan
from gateway.control.parts import Parts
from gateway.control.registry.versions import unknown_model, versions_of
from gateway.control.rollouts.windows import MINUTE_MS
from gateway.control.routing.stored import read_stored
from gateway.core.rollouts.replay import rehearse_recorded

TICK_S = 5.0
MOST_TICKS = 2000  # a longer time is played in longer ticks


async def rehearse(parts: Parts, model: str, plan: Plan, *, since_s: int) -> dict[str, Any]:
    """Raises CallerError where the plan could not be started on the present route."""
    versions = await versions_of(parts.documents, model)
    if not versions:
        raise unknown_model(model)
    if plan.candidate not in versions:
        raise CallerError(
            "unknown_version",
            f"{model} has no version {plan.candidate} (it has: {', '.join(sorted(versions))})",
        )
    stored = await read_stored(parts.documents, model)
    if stored.route is None:
        raise CallerError("no_route", f"{model} has no readable route: see `turnout route show {model}`")
    minute = (await parts.fleet.workers()).now_ms // MINUTE_MS
    evidence = await parts.predictions.evidence(
        model, minute - -(-since_s // 60), minute - 1, whole_hours=False
    )
    if not evidence:
        raise CallerError("not_found", f"nothing was recorded about {model} in the last {since_s} s")
    tick_s = max(TICK_S, 60 * len(evidence) / MOST_TICKS)
    found = await asyncio.to_thread(
        rehearse_recorded, plan, route=stored.route, evidence=evidence, tick_s=tick_s
    )
    rollout = found.rollout
    return {
        "model": model,
        "candidate": rollout.candidate,
        "baseline": rollout.baseline,
        "minutes": len(evidence),
        "phase": rollout.phase,
        "is_over": rollout.is_over,
        "sentence": rollout.sentence,
        "step": rollout.step,
        "steps": len(rollout.plan.steps),
        "lasted_s": found.lasted_s,
        "requests": found.requests,
        "waits_for": found.waits_for,
        "events": [
            {"after_s": after_s, **event.model_dump(mode="json", exclude={"at_ms"})}
            for after_s, event in found.events
        ],
    }
