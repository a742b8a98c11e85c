"""HTTP: the standing of versions, and approvals."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AwareDatetime, Field

from gateway.contract import keys
from gateway.contract.errors import CallerError
from gateway.contract.names import VersionName
from gateway.contract.plan import Plan
from gateway.contract.route import Document
from gateway.contract.standing import ENDED, NEXT, Approval, Digest, Standing, State
from gateway.contract.version import Version
from gateway.control.access.caller import Caller
from gateway.control.api.paths import ModelPath, VersionPath
from gateway.control.body import StrictRoute
from gateway.control.parts import Author, Control, Parts
from gateway.control.registry.versions import registered
from gateway.control.rollouts.templates import Templates
from gateway.control.routing.governance import (
    dossier_of,
    read_standing,
)
from gateway.control.routing.stored import read_stored
from gateway.core.rollouts.plans import plan_for
from gateway.store.documents import Change

router = APIRouter(tags=["governance"], route_class=StrictRoute)

Reason = Annotated[str, Field(max_length=512)]
DEFAULT_SUNSET = timedelta(days=30)


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
