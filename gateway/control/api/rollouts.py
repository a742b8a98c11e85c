"""HTTP: rollouts: start one, look at it, pause, resume, promote and abort it."""

import time
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import Field

from gateway.contract import keys
from gateway.contract.errors import CallerError
from gateway.contract.names import VersionName
from gateway.contract.plan import Plan
from gateway.contract.route import Document
from gateway.control.access.caller import Caller
from gateway.control.api.paths import ModelPath
from gateway.control.body import StrictRoute
from gateway.control.parts import Author, Control, Parts
from gateway.control.rollouts.commands import Wish, command, start
from gateway.control.rollouts.found import Found, readable_rollout, summary, the_rollout, told
from gateway.control.rollouts.rehearsal import rehearse
from gateway.control.rollouts.templates import Templates
from gateway.control.routing.applied import wait_until_served
from gateway.core.rollouts.plans import plan_for

router = APIRouter(tags=["rollouts"], route_class=StrictRoute)

HISTORY_READ = 1000
Reason = Annotated[str, Field(max_length=512)]
WaitS = Annotated[float, Field(ge=0, le=60)]


class StartRequest(Document):
    """Exactly one of `plan` and `template`; `candidate` and `baseline` win over what the plan says."""

    plan: Plan | None = None
    template: str | None = None
    candidate: VersionName | None = None
    baseline: VersionName | None = None
    reason: Reason = ""
    dry_run: bool = False
    force: bool = False
    wait_s: WaitS = 0


class RehearseRequest(Document):
    """As for a start; `since_s` is how much of the recorded evidence is played."""

    plan: Plan | None = None
    template: str | None = None
    candidate: VersionName | None = None
    baseline: VersionName | None = None
    since_s: Annotated[int, Field(ge=60, le=8 * 86_400)] = 86_400


class CommandRequest(Document):
    """`rollout_id`: only if it is this one; `wait_s`: for all gateways to serve it; `keep_route`: an abort
    that leaves the traffic as it is."""

    rollout_id: str | None = None
    reason: Reason = ""
    keep_route: bool = False
    wait_s: WaitS = 0


@router.get("/rollouts")
async def list_rollouts(control: Control, caller: Caller) -> dict[str, Any]:
    """The newest rollout of each model, live ones first."""
    found = []
    for model, readable in (await control.steerings.read()).rollouts.items():
        if not caller.sees(model):
            continue
        if readable is None:
            found.append({"model": model, "problem": "cannot be read", "is_over": False})
        else:
            found.append(summary(readable))
    return {"rollouts": sorted(found, key=lambda item: bool(item["is_over"]))}


@router.get("/rollouts/plans")
async def list_plans(control: Control) -> dict[str, Any]:
    """The templates that a rollout can be started with by name."""
    templates = Templates(control.settings.plans_dir)
    plans: list[dict[str, Any]] = []
    for name in templates.files():
        try:
            plan = templates.plan(name)
        except CallerError as error:
            plans.append({"name": name, "problem": error.message})
            continue
        plans.append(
            {
                "name": name,
                "description": plan.description,
                "steps": [step.title for step in plan.steps],
                "gates": [gate.title for gate in plan.gates],
                "on_fail": plan.on_fail,
                "plan": plan.model_dump(mode="json", exclude_defaults=True, exclude_none=True),
            }
        )
    return {"plans": plans}


@router.post("/models/{model}/rollouts", status_code=201)
async def start_rollout(
    model: ModelPath, wish: StartRequest, control: Control, author: Author, caller: Caller
) -> dict[str, Any]:
    """Starts one; a dry run makes every check."""
    plan = _plan(control, model, wish)
    began = time.perf_counter()
    found = await start(
        control,
        model,
        plan,
        author=author,
        reason=wish.reason,
        dry_run=wish.dry_run,
        force=wish.force,
        role=caller.role,
    )
    return await _answer(control, found, wait_s=0 if wish.dry_run else wish.wait_s, since=began) | {
        "dry_run": wish.dry_run
    }


@router.post("/models/{model}/rollouts/rehearse")
async def rehearse_rollout(model: ModelPath, wish: RehearseRequest, control: Control) -> dict[str, Any]:
    """What the plan would have done with the evidence that was recorded; nothing is changed."""
    return await rehearse(control, model, _plan(control, model, wish), since_s=wish.since_s)


@router.get("/models/{model}/rollout")
async def show_rollout(model: ModelPath, control: Control) -> dict[str, Any]:
    """The newest rollout with its steps, what it waits for, and whether anybody moves it on."""
    return await _told(control, await the_rollout(control.documents, model))


@router.get("/models/{model}/rollouts/history")
async def show_history(model: ModelPath, control: Control) -> dict[str, Any]:
    """Every rollout of the model that is remembered, newest first, each as it stood last."""
    newest: dict[str, Found] = {}
    for envelope in await control.documents.history(keys.rollout_field(model), limit=HISTORY_READ):
        found = readable_rollout(envelope)
        if found is not None:
            newest.setdefault(found.rollout.rollout_id, found)
    return {"model": model, "rollouts": [told(found, None) for found in newest.values()]}


@router.post("/models/{model}/rollout/{verb}")
async def command_rollout(
    model: ModelPath,
    verb: Annotated[Literal["pause", "resume", "promote", "abort"], Path()],
    wish: CommandRequest,
    control: Control,
    author: Author,
) -> dict[str, Any]:
    """`verb` is pause, resume, promote or abort."""
    if wish.keep_route and verb != "abort":
        raise CallerError("bad_request", "only an abort can keep the route")
    began = time.perf_counter()
    asked = Wish(
        verb, author=author, reason=wish.reason, rollout_id=wish.rollout_id, keep_route=wish.keep_route
    )
    found = await command(control, model, asked)
    return await _answer(control, found, wait_s=wish.wait_s, since=began)


def _plan(control: Parts, model: str, wish: StartRequest | RehearseRequest) -> Plan:
    """The given or named plan, about these versions."""
    if (wish.plan is None) == (wish.template is None):
        raise CallerError("bad_request", "give exactly one of `plan` and `template`")
    plan = wish.plan or Templates(control.settings.plans_dir).plan(wish.template or "")
    candidate = wish.candidate or plan.candidate
    if candidate is None or plan.model not in (None, model):
        return plan
    return plan_for(plan, model=model, candidate=candidate, baseline=wish.baseline)


async def _answer(control: Parts, found: Found, *, wait_s: float, since: float) -> dict[str, Any]:
    applied = None
    if wait_s > 0:
        applied = await wait_until_served(
            control.fleet, found.revision, within_s=min(wait_s, control.settings.max_wait_s), since=since
        )
    return {**await _told(control, found), "applied": None if applied is None else asdict(applied)}


async def _told(control: Parts, found: Found) -> dict[str, Any]:
    progress = await control.leases.progress(found.rollout.model)
    leader = await control.leases.leader()
    return {**told(found, progress), "controller": leader}
