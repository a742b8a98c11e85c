"""HTTP: policies, the standing of versions, and approvals."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, Field

from gateway.contract import keys
from gateway.contract.errors import CallerError
from gateway.contract.names import ModelName, VersionName
from gateway.contract.plan import Plan
from gateway.contract.policy import Policy
from gateway.contract.route import Document, Route
from gateway.contract.standing import ENDED, NEXT, Approval, Digest, Standing, State
from gateway.contract.version import Version
from gateway.control.aliases import is_return
from gateway.control.api.paths import ModelPath, VersionPath
from gateway.control.body import StrictRoute
from gateway.control.caller import Caller
from gateway.control.governance import (
    broken_by_alias,
    broken_by_change,
    broken_by_plan,
    dossier_of,
    kept_against,
    policies_of,
    read_standing,
)
from gateway.control.parts import Author, Control, Parts
from gateway.control.registry import registered
from gateway.control.rollouts.templates import Templates
from gateway.control.stored import read_stored
from gateway.core.rollouts.plans import plan_for
from gateway.store.documents import Change

router = APIRouter(tags=["governance"], route_class=StrictRoute)

PolicyPath = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Reason = Annotated[str, Field(max_length=512)]
DEFAULT_SUNSET = timedelta(days=30)


class PolicyWish(Document):
    policy: Policy
    reason: Reason = ""


class AliasWish(Document):
    model: ModelName
    alias: ModelName
    version: VersionName


class CheckWish(Document):
    """Exactly one of a route, a plan, and an alias with the version that it shall name."""

    route: Route | None = None
    plan: Plan | None = None
    alias: AliasWish | None = None


class StateWish(Document):
    state: State
    reason: Reason = ""
    sunset_at: AwareDatetime | None = None
    successor: VersionName | None = None


class DossierWish(Document):
    """The plan by which the version shall go live, or the name of one; neither: by changes of the route."""

    plan: Plan | None = None
    template: str | None = None


class ApprovalWish(DossierWish):
    """`dossier`: the hash of what the approver saw, with the same plan."""

    dossier: Digest
    note: Annotated[str, Field(max_length=1024)] = ""


@router.get("/policies")
async def list_policies(control: Control) -> dict[str, Any]:
    """Every policy, and those that cannot be read."""
    found = await policies_of(control)
    return {
        "policies": [policy.model_dump(mode="json", exclude_defaults=True) for policy in found.readable],
        "problems": [f"{name}: {problem}" for name, problem in found.unreadable.items()],
    }


@router.get("/policies/{name}")
async def show_policy(name: PolicyPath, control: Control) -> dict[str, Any]:
    """One policy with its revision."""
    envelope = await control.documents.get(keys.policy_field(name))
    if envelope is None:
        raise CallerError("not_found", f"there is no policy {name}: `turnout policy list` shows all")
    return {
        "revision": envelope.revision, "author": envelope.author, "at_ms": envelope.at_ms,
        "reason": envelope.reason, "document": envelope.doc,
    }  # fmt: skip


@router.put("/policies/{name}")
async def write_policy(
    name: PolicyPath, wish: PolicyWish, control: Control, author: Author
) -> dict[str, Any]:
    """Writes one; `warnings` name what breaks it already."""
    if wish.policy.policy != name:
        raise CallerError(
            "invalid_document", f"policy: the document is about {wish.policy.policy}, not {name}"
        )
    field = keys.policy_field(name)
    known = await control.documents.get(field)
    document = wish.policy.model_dump(mode="json")
    if known is not None and known.doc == document:
        return {"policy": name, "changed": False, "revision": known.revision, "warnings": []}
    change = Change(field, document, expected_revision=known.revision if known else 0)
    revision = await _commit(control, change, author=author, reason=wish.reason)
    warnings = await kept_against(control, wish.policy)
    return {"policy": name, "changed": True, "revision": revision, "warnings": warnings}


@router.delete("/policies/{name}")
async def remove_policy(
    name: PolicyPath, control: Control, author: Author, reason: Annotated[str, Query(max_length=512)] = ""
) -> dict[str, Any]:
    """Takes one away."""
    known = await control.documents.get(keys.policy_field(name))
    if known is None:
        raise CallerError("not_found", f"there is no policy {name}")
    change = Change(known.field, None, expected_revision=known.revision)
    return {"policy": name, "revision": await _commit(control, change, author=author, reason=reason)}


@router.post("/policies/check")
async def check_policies(wish: CheckWish, control: Control) -> dict[str, Any]:
    """What policy would say to a route, a plan or an alias now; nothing is written."""
    match wish:
        case CheckWish(route=Route() as route, plan=None, alias=None):
            before = (await read_stored(control.documents, route.model)).route
            broken = await broken_by_change(control, before=before, after=route, is_return=False)
        case CheckWish(route=None, plan=Plan() as plan, alias=None):
            if plan.model is None or plan.candidate is None:
                raise CallerError("invalid_document", "plan: name its model and its candidate")
            broken = await broken_by_plan(control, plan)
        case CheckWish(route=None, plan=None, alias=AliasWish(model=model, alias=alias, version=version)):
            await registered(control.documents, model, version)
            broken = await broken_by_alias(
                control, model, alias, version, is_return=await is_return(control, model, alias, version)
            )
        case _:
            raise CallerError("bad_request", "give exactly one of `route`, `plan` and `alias`")
    return {
        "allowed": not broken,
        "broken": [
            {"rule": item.rule, "sentence": item.sentence, "override": item.override} for item in broken
        ],
    }


@router.get("/models/{model}/standings")
async def list_standings(model: ModelPath, control: Control) -> dict[str, Any]:
    """The state of every version, with approvals and decisions."""
    found = await control.documents.all(keys.version_field(model, ""))
    names = [field.rpartition("/")[2] for field in found]
    return {"model": model, "versions": [await _told(control, model, name) for name in names]}


@router.post("/models/{model}/versions/{version}/dossier")
async def show_dossier(
    model: ModelPath, version: VersionPath, wish: DossierWish, control: Control
) -> dict[str, Any]:
    """What an approval would be about, and the hash that it is bound to."""
    found, envelope = await registered(control.documents, model, version)
    seen, digest = await dossier_of(control, found, _plan_of(control, found, wish))
    return {
        "model": model, "version": version, "author": envelope.author, "dossier": seen, "hash": digest,
        "standing": (await _told(control, model, version)),
    }  # fmt: skip


@router.post("/models/{model}/versions/{version}/approve")
async def approve(
    model: ModelPath,
    version: VersionPath,
    wish: ApprovalWish,
    control: Control,
    author: Author,
    caller: Caller,
) -> dict[str, Any]:
    """Lets a version in, for exactly what the approver saw; never by the version's author."""
    found, envelope = await registered(control.documents, model, version)
    if envelope.author == author:
        raise CallerError(
            "refused",
            f"{author} registered version {version}: somebody else has to approve it",
            rules=["approvals.author"],
        )
    _, digest = await dossier_of(control, found, _plan_of(control, found, wish))
    if digest != wish.dossier:
        raise CallerError(
            "refused",
            f"what is known of version {version} has changed since you looked, or the plan is another: see "
            f"`turnout model dossier {model} {version}`, with the same --plan, and approve that",
            rules=["approvals.dossier"],
            hash=digest,
        )
    now_ms = (await control.fleet.workers()).now_ms
    given = Approval(by=author, role=caller.role, dossier=digest, at_ms=now_ms, note=wish.note)

    def with_approval(standing: Standing) -> Standing:
        if State.APPROVED not in NEXT[standing.state] and standing.state is not State.APPROVED:
            raise _no_way(standing, State.APPROVED)
        others = tuple(item for item in standing.approvals if (item.by, item.dossier) != (author, digest))
        return standing.model_copy(update={"state": State.APPROVED, "approvals": (*others, given)[-32:]})

    revision = await _change_standing(
        control, model, version, with_approval, author=author, reason=wish.note or f"approve {version}"
    )
    return {**(await _told(control, model, version)), "revision": revision}


def _plan_of(control: Parts, version: Version, wish: DossierWish) -> Plan | None:
    """The plan as a rollout of this version would start with it: the same plan is the same dossier."""
    if wish.plan is not None and wish.template is not None:
        raise CallerError("bad_request", "give `plan` or `template`, not both")
    if wish.plan is None and wish.template is None:
        return None
    plan = wish.plan or Templates(control.settings.plans_dir).plan(wish.template or "")
    for field, named, meant in (
        ("model", plan.model, version.model),
        ("candidate", plan.candidate, version.version),
    ):
        if named not in (None, meant):
            raise CallerError("invalid_document", f"the plan's {field} is {named}, not {meant}")
    return plan_for(plan, model=version.model, candidate=version.version)


@router.post("/models/{model}/versions/{version}/state")
async def set_state(
    model: ModelPath, version: VersionPath, wish: StateWish, control: Control, author: Author
) -> dict[str, Any]:
    """Every state but `approved`, which needs an approval."""
    await registered(control.documents, model, version)
    if wish.state is State.APPROVED:
        raise CallerError("bad_request", f"approve it: `turnout model approve {model} {version}`")
    if wish.successor is not None:
        await registered(control.documents, model, wish.successor)
    if wish.state is State.RETIRED:
        await _refuse_if_routed(control, model, version)
    now = datetime.now(UTC)

    def moved(standing: Standing) -> Standing:
        if wish.state is not standing.state and wish.state not in NEXT[standing.state]:
            raise _no_way(standing, wish.state)
        ends = wish.sunset_at or standing.sunset_at or now + DEFAULT_SUNSET
        is_ending = wish.state in (State.DEPRECATED, State.RETIRED)
        return standing.model_copy(
            update={
                "state": wish.state,
                "reason": wish.reason,
                "successor": wish.successor or standing.successor,
                "ended_at": _ended_at(standing, wish.state, now),
                "deprecated_at": (standing.deprecated_at or now) if is_ending else None,
                "sunset_at": ends if is_ending else None,
                "approvals": standing.approvals if is_ending else (),
            }
        )

    revision = await _change_standing(
        control,
        model,
        version,
        moved,
        author=author,
        reason=wish.reason or f"{version} is {wish.state.value}",
    )
    return {**(await _told(control, model, version)), "revision": revision}


def _ended_at(standing: Standing, state: State, now: datetime) -> datetime | None:
    if state not in ENDED:
        return None
    return standing.ended_at if state is standing.state and standing.ended_at else now


async def _change_standing(
    control: Parts, model: str, version: str, change: Any, *, author: str, reason: str
) -> int:
    field = keys.standing_field(model, version)
    known = await control.documents.get(field)
    standing = change(read_standing(model, version, known))
    return await _commit(
        control,
        Change(field, standing.model_dump(mode="json"), expected_revision=known.revision if known else 0),
        author=author,
        reason=reason,
    )


async def _commit(control: Parts, change: Change, *, author: str, reason: str) -> int:
    committed = await control.documents.commit([change], author=author, reason=reason, op_id=uuid.uuid4().hex)
    return committed.revision


async def _told(control: Parts, model: str, version: str) -> dict[str, Any]:
    envelope = await control.documents.get(keys.standing_field(model, version))
    standing = read_standing(model, version, envelope)
    return {
        **standing.model_dump(mode="json"),
        "by": envelope.author if envelope else "",
        "at_ms": envelope.at_ms if envelope else 0,
        "next": sorted(NEXT[standing.state]),
    }


async def _refuse_if_routed(control: Parts, model: str, version: str) -> None:
    route = (await read_stored(control.documents, model)).route
    if route is not None and version in route.versions():
        raise CallerError(
            "refused",
            f"the route of {model} names version {version}: take it out before you retire it",
            rules=["state.routed"],
        )


def _no_way(standing: Standing, wanted: State) -> CallerError:
    ways = ", ".join(sorted(NEXT[standing.state]))
    return CallerError(
        "refused",
        f"version {standing.version} is {standing.state.value}; from there it can become: {ways}",
        rules=["state.order"],
        wanted=wanted.value,
    )
