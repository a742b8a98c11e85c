"""A model's rollout as it lies in Redis, and what the API tells of it.

Called by the handlers of rollouts and by the controller.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gateway.contract import keys
from gateway.contract.envelope import Envelope
from gateway.contract.errors import CallerError, UpstreamError
from gateway.contract.rollout import Progress, Rollout
from gateway.core.rollouts.gates import gates_of
from gateway.store.documents import Documents


@dataclass(frozen=True, slots=True)
class Found:
    """`revision` is that of the document."""

    rollout: Rollout
    revision: int


async def find_rollout(documents: Documents, model: str) -> Found | None:
    """The newest one. Raises UpstreamError for one that was edited into nonsense."""
    envelope = await documents.get(keys.rollout_field(model))
    if envelope is None:
        return None
    found = readable_rollout(envelope)
    if found is None:
        raise UpstreamError(
            "store_away",
            f"the rollout of {model} in Redis cannot be read, so somebody else wrote to it: "
            f"delete the field rollout/{model} there and put the route right by hand",
        )
    return found


async def the_rollout(documents: Documents, model: str) -> Found:
    found = await find_rollout(documents, model)
    if found is None:
        raise CallerError(
            "not_found",
            f"{model} never had a rollout: start one with `turnout rollout start {model} --to VERSION`",
        )
    return found


def readable_rollout(envelope: Envelope) -> Found | None:
    try:
        rollout = Rollout.model_validate(envelope.doc)
    except ValidationError:
        return None
    return Found(rollout.as_of(envelope.revision), envelope.revision)


def summary(found: Found) -> dict[str, Any]:
    """One line of a list."""
    rollout = found.rollout
    steps = rollout.plan.steps
    return {
        "model": rollout.model,
        "rollout_id": rollout.rollout_id,
        "revision": found.revision,
        "baseline": rollout.baseline,
        "candidate": rollout.candidate,
        "phase": rollout.phase,
        "is_over": rollout.is_over,
        "sentence": rollout.sentence,
        "step": rollout.step,
        "steps": len(steps),
        "step_title": steps[rollout.step].title if rollout.step < len(steps) else "done",
        "author": rollout.author,
        "reason": rollout.reason,
        "started_ms": rollout.started_ms,
    }


def told(found: Found, progress: Progress | None) -> dict[str, Any]:
    """All of it; `progress` is left out where it is about another rollout."""
    rollout = found.rollout
    is_about_this = progress is not None and progress.rollout_id == rollout.rollout_id
    return {
        **summary(found),
        "steps": [
            {
                "step": index,
                "title": step.title,
                "state": _state(rollout, index),
                "gates": [gate.title for gate in gates_of(rollout.plan, step)],
                "hold": step.hold.model_dump(mode="json", exclude_none=True),
                "weight": step.weight,
                "shadow": step.shadow,
            }
            for index, step in enumerate(rollout.plan.steps)
        ],
        "step_entered_ms": rollout.step_entered_ms,
        "limits": rollout.plan.limits.model_dump(mode="json", exclude_none=True),
        "on_fail": rollout.plan.on_fail,
        "progress": progress.model_dump(mode="json", exclude={"rollout_mark", "step_mark"})
        if progress is not None and is_about_this
        else None,
        "events": [event.model_dump(mode="json") for event in rollout.events],
        "rollout": rollout.model_dump(mode="json", exclude_none=True),
        "plan": rollout.plan.model_dump(mode="json", exclude_defaults=True, exclude_none=True),
    }


def _state(rollout: Rollout, index: int) -> str:
    if index < rollout.step:
        return "done"
    if index > rollout.step:
        return "next" if not rollout.is_over else "not reached"
    return "now" if not rollout.is_over else "ended here"
