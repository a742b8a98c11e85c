"""HTTP: which processes there are, and whether they are well."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Response

from gateway.contract.access import Role
from gateway.contract.errors import is_versions_fault
from gateway.contract.evidence import PRIMARY
from gateway.contract.pool import Presence
from gateway.control.access.caller import Caller, Known
from gateway.control.body import StrictRoute
from gateway.control.doctor.examine import examine
from gateway.control.doctor.judge import findings
from gateway.control.parts import Control
from gateway.control.pools.now import told_pools
from gateway.control.status import installation_problems
from gateway.core.evidence.scores import ROLE_NAMES

router = APIRouter(tags=["fleet"], route_class=StrictRoute)


@router.get("/pools", response_model=dict[str, Any])
async def list_pools(
    control: Control, caller: Caller, model: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """Every pool, or those of one model: workers wanted and ready, why, what it lacks, when it stops."""

    def is_asked_for(name: str) -> bool:
        return caller.sees(name) and model in ("", name)

    found = await control.pools.read()
    supervisors = [told.model_dump(mode="json", exclude={"lacks"}) for told in found.supervisors]
    return _json({"pools": await told_pools(found, sees=is_asked_for), "supervisors": supervisors})


@router.get("/gateways")
async def list_gateways(control: Control) -> dict[str, Any]:
    """`revision` is the installation's newest; a gateway that serves an older one is behind."""
    gateways = await control.fleet.gateways()
    newest = await control.documents.revision()
    return {"revision": newest, "gateways": [_gateway(gateway, newest) for gateway in gateways]}


@router.get("/overview", response_model=dict[str, Any])
async def show_overview(control: Control, caller: Caller) -> Response:
    """Every model with its traffic, quality, rollout and workers, at most a second old."""
    seen = await control.overview.look()
    return _json({**seen, "models": [model for model in seen["models"] if caller.sees(model["model"])]})


@router.get("/doctor")
async def examine_all(control: Control, caller: Caller) -> dict[str, Any]:
    """What is wrong, the gravest first; `redis` is what was seen of the server. For keys of all models only;
    keys that end soon are told to admins, who alone may see keys."""
    caller.require_all()
    seen = await examine(
        control, (await control.pools.read()).active(), with_keys=caller.role.includes(Role.ADMIN)
    )
    return {"findings": [asdict(finding) for finding in findings(seen)], "redis": asdict(seen.redis)}


@router.get("/status")
async def show_status(control: Control, caller: Caller) -> dict[str, Any]:
    """One look at the whole installation; `problems` is empty when all is well. `traffic` is of the last two
    minutes, `refused` counts by code what gateways refused in the last one before any version was chosen,
    `last_change` is the newest commit."""
    gateways = await control.fleet.gateways()
    newest = await control.documents.revision()
    found = await control.pools.read()
    pools = found.active()
    steering = await control.steerings.read()
    rollouts = steering.going_on()
    traffic = _traffic((await control.overview.look())["models"], caller)
    refused = _refused(gateways)
    return {
        "redis": "ok",
        "revision": newest,
        "gateways": len(gateways),
        "gateways_behind": sum(gateway.revision < newest for gateway in gateways),
        "models": len(found.models()),
        "routes": len(steering.routes),
        "rollouts": len(rollouts),
        "workers_ready": sum(pool.ready for pool in pools),
        "workers_wanted": sum(pool.wanted or 0 for pool in pools),
        "traffic": traffic,
        "refused": refused,
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
                routes=steering.readable_routes(),
                route_problems={
                    model: read.problems for model, read in steering.routes.items() if read.route is None
                },
                rollouts=rollouts,
                rollouts_led=await control.leases.leader() is not None,
                followings={
                    model: answer for model, answer in steering.followings.items() if answer is not None
                },
                refused=refused,
                overloaded=_overloaded(traffic["failing"]),
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


def _refused(gateways: Sequence[Presence]) -> dict[str, int]:
    """By code, the most frequent first."""
    total = sum((Counter(gateway.refused) for gateway in gateways), Counter[str]())
    return dict(total.most_common())


def _overloaded(failing: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], int]:
    """By model and version: requests of the last two minutes for which there was no room."""
    return {
        (item["model"], item["version"]): item["errors"]["overloaded"]
        for item in failing
        if "overloaded" in item["errors"]
    }


def _json(answer: dict[str, Any]) -> Response:
    """Without a second look at each of thousands of parts."""
    return Response(orjson.dumps(answer), media_type="application/json")


def _gateway(gateway: Presence, newest: int) -> dict[str, Any]:
    return {**gateway.model_dump(mode="json"), "is_behind": gateway.revision < newest}
