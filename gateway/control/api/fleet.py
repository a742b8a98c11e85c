"""HTTP: which processes there are, and whether they are well."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from gateway.contract.access import Role
from gateway.contract.errors import is_versions_fault
from gateway.contract.evidence import PRIMARY
from gateway.contract.pool import Presence
from gateway.control.access.caller import Caller, Known
from gateway.control.body import StrictRoute
from gateway.control.doctor.examine import examine
from gateway.control.doctor.judge import findings
from gateway.control.parts import Control, Parts
from gateway.control.pools.now import pools_of
from gateway.control.rollouts.followed import readable_following
from gateway.control.rollouts.found import readable_rollout
from gateway.control.routing.stored import readable
from gateway.control.status import installation_problems
from gateway.core.evidence.scores import ROLE_NAMES

router = APIRouter(tags=["fleet"], route_class=StrictRoute)

_BEYOND_ALL = 2**53  # no document changed after this revision: only the present one is asked for


@router.get("/pools")
async def list_pools(control: Control, caller: Caller) -> dict[str, Any]:
    """Every pool: workers wanted and ready, why it is there, what it lacks, when it stops."""
    seen = [pool for pool in await pools_of(control) if caller.sees(pool.model)]
    return {
        "pools": [{**asdict(pool), "is_short": pool.is_short} for pool in seen],
        "supervisors": [
            told.model_dump(mode="json", exclude={"lacks"}) for told in await control.fleet.supervisors()
        ],
    }


@router.get("/gateways")
async def list_gateways(control: Control) -> dict[str, Any]:
    """`revision` is the installation's newest; a gateway that serves an older one is behind."""
    gateways = await control.fleet.gateways()
    newest = await _newest_revision(control)
    return {"revision": newest, "gateways": [_gateway(gateway, newest) for gateway in gateways]}


@router.get("/overview")
async def show_overview(control: Control, caller: Caller) -> dict[str, Any]:
    """Every model with its traffic, quality, rollout and workers, at most a second old."""
    seen = await control.overview.look()
    return {**seen, "models": [model for model in seen["models"] if caller.sees(model["model"])]}


@router.get("/doctor")
async def examine_all(control: Control, caller: Caller) -> dict[str, Any]:
    """What is wrong, the gravest first; `redis` is what was seen of the server. For keys of all models only;
    keys that end soon are told to admins, who alone may see keys."""
    caller.require_all()
    seen = await examine(control, await pools_of(control), with_keys=caller.role.includes(Role.ADMIN))
    return {"findings": [asdict(finding) for finding in findings(seen)], "redis": asdict(seen.redis)}


@router.get("/status")
async def show_status(control: Control, caller: Caller) -> dict[str, Any]:
    """One look at the whole installation; `problems` is empty when all is well. `traffic` is of the last two
    minutes, `last_change` the newest commit."""
    gateways = await control.fleet.gateways()
    newest = await _newest_revision(control)
    pools = await pools_of(control)
    routes, unreadable = {}, {}
    for field, envelope in (await control.documents.all("route/")).items():
        model = field.removeprefix("route/")
        route, problems = readable(model, envelope.doc)
        if route is not None:
            routes[model] = route
        else:
            unreadable[model] = problems
    answers = {
        field.removeprefix("following/"): readable_following(envelope)
        for field, envelope in (await control.documents.all("following/")).items()
    }
    found = map(readable_rollout, (await control.documents.all("rollout/")).values())
    rollouts = [item.rollout for item in found if item is not None and not item.rollout.is_over]
    return {
        "redis": "ok",
        "revision": newest,
        "gateways": len(gateways),
        "gateways_behind": sum(gateway.revision < newest for gateway in gateways),
        "models": len({pool.model for pool in pools}),
        "routes": len(routes) + len(unreadable),
        "rollouts": len(rollouts),
        "workers_ready": sum(pool.ready for pool in pools),
        "workers_wanted": sum(pool.wanted or 0 for pool in pools),
        "traffic": _traffic((await control.overview.look())["models"], caller),
        "last_change": next(iter(await control.documents.audit(1)), None),
        "problems": [
            *(
                [f"no head of the audit is signed, since {problem}"]
                if (problem := control.heads.problem)
                else []
            ),
            *installation_problems(
                revision=newest,
                gateways=gateways,
                pools=pools,
                routes=routes,
                route_problems=unreadable,
                rollouts=rollouts,
                rollouts_led=await control.leases.leader() is not None,
                followings={model: answer for model, answer in answers.items() if answer is not None},
            ),
        ],
    }


def _traffic(models: Sequence[Mapping[str, Any]], caller: Known) -> dict[str, Any]:
    """`failing`: versions with failures that are theirs, those with the most first."""
    seen = [model for model in models if caller.sees(model["model"])]
    failing = []
    for model in seen:
        for row in model["versions"]:
            errors = {code: count for code, count in row["errors"].items() if is_versions_fault(code)}
            if errors and row["role"] == ROLE_NAMES[PRIMARY]:
                told = {"requests": row["requests"], "failed": sum(errors.values()), "errors": errors}
                failing.append({"model": model["model"], "version": row["version"], **told})
    return {
        "per_s": round(sum(model["per_s"] for model in seen), 3),
        "requests": sum(model["requests"] for model in seen),
        "failed": sum(item["failed"] for item in failing),
        "failing": sorted(failing, key=lambda item: -item["failed"]),
    }


async def _newest_revision(control: Parts) -> int:
    return (await control.documents.follow(_BEYOND_ALL)).revision


def _gateway(gateway: Presence, newest: int) -> dict[str, Any]:
    return {**gateway.model_dump(mode="json"), "is_behind": gateway.revision < newest}
