"""HTTP: which processes there are, and whether they are well."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from gateway.contract.pool import Presence
from gateway.control.api.models import pools_of
from gateway.control.body import StrictRoute
from gateway.control.caller import Caller
from gateway.control.doctor import findings
from gateway.control.examine import examine
from gateway.control.parts import Control, Parts
from gateway.control.rollouts.found import readable_rollout
from gateway.control.status import installation_problems
from gateway.control.stored import readable

router = APIRouter(tags=["fleet"], route_class=StrictRoute)

_BEYOND_ALL = 2**53  # no document changed after this revision: only the present one is asked for


@router.get("/pools")
async def list_pools(control: Control, caller: Caller) -> dict[str, Any]:
    seen = [pool for pool in await pools_of(control) if caller.sees(pool.model)]
    return {"pools": [{**asdict(pool), "is_short": pool.is_short} for pool in seen]}


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
    """What is wrong, the gravest first; `redis` is what was seen of the server. For all models only."""
    caller.require_all()
    seen = await examine(control, await pools_of(control))
    return {"findings": [asdict(finding) for finding in findings(seen)], "redis": asdict(seen.redis)}


@router.get("/status")
async def show_status(control: Control) -> dict[str, Any]:
    """One look at the whole installation; `problems` is empty when all is well."""
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
            ),
        ],
    }


async def _newest_revision(control: Parts) -> int:
    return (await control.documents.follow(_BEYOND_ALL)).revision


def _gateway(gateway: Presence, newest: int) -> dict[str, Any]:
    return {**gateway.model_dump(mode="json"), "is_behind": gateway.revision < newest}
