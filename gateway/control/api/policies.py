"""HTTP: policies, and what they would say to a change."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from gateway.contract import keys
from gateway.contract.errors import CallerError
from gateway.contract.names import VERSION_PATTERN, ModelName, VersionName
from gateway.contract.plan import Plan
from gateway.contract.policy import Policy
from gateway.contract.route import Document, Route
from gateway.control.api.paths import ModelPath
from gateway.control.body import StrictRoute
from gateway.control.parts import Author, Control
from gateway.control.registry.aliases import is_return
from gateway.control.registry.versions import registered
from gateway.control.routing.governance import (
    broken_by_alias,
    broken_by_change,
    broken_by_plan,
    kept_against,
    policies_of,
)
from gateway.control.routing.stored import read_stored
from gateway.core.broken import Broken
from gateway.core.policy_words import rules_of
from gateway.store.documents import Change, new_operation_id

router = APIRouter(tags=["governance"], route_class=StrictRoute)

PolicyPath = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Reason = Annotated[str, Field(max_length=512)]
_OF_A_ROUTE = ".retention"  # what judges a route's own settings, not the version


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
    committed = await control.documents.commit(
        [change], author=author, reason=wish.reason, op_id=new_operation_id()
    )
    warnings = await kept_against(control, wish.policy)
    return {"policy": name, "changed": True, "revision": committed.revision, "warnings": warnings}


@router.delete("/policies/{name}")
async def remove_policy(
    name: PolicyPath, control: Control, author: Author, reason: Annotated[str, Query(max_length=512)] = ""
) -> dict[str, Any]:
    """Takes one away."""
    known = await control.documents.get(keys.policy_field(name))
    if known is None:
        raise CallerError("not_found", f"there is no policy {name}")
    change = Change(known.field, None, expected_revision=known.revision)
    committed = await control.documents.commit(
        [change], author=author, reason=reason, op_id=new_operation_id()
    )
    return {"policy": name, "revision": committed.revision}


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


@router.get("/models/{model}/policies")
async def explain_policies(
    model: ModelPath, control: Control, version: Annotated[str | None, Query(pattern=VERSION_PATTERN)] = None
) -> dict[str, Any]:
    """What the policies of a model ask for, rule by rule; `broken`: what stands against this version
    answering now, by a change of the route; a plan has its own dossier."""
    found = await policies_of(control)
    broken: tuple[Broken, ...] = ()
    if version is not None:
        await registered(control.documents, model, version)
        alone = Route.model_validate({"model": model, "split": [{"version": version, "weight": 100}]})
        judged = await broken_by_change(control, before=None, after=alone, is_return=False)
        broken = tuple(item for item in judged if not item.rule.endswith(_OF_A_ROUTE))
    return {
        "model": model,
        "version": version,
        "policies": [
            {
                "policy": policy.policy,
                "description": policy.description,
                "rules": [{"rule": rule, "sentence": sentence} for rule, sentence in rules_of(policy)],
            }
            for policy in found.readable
            if policy.is_about(model)
        ],
        "problems": [f"{name}: {problem}" for name, problem in found.unreadable.items()],
        "broken": [{"rule": item.rule, "sentence": item.sentence} for item in broken],
    }
