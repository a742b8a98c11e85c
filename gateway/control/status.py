"""What is wrong with this installation, in sentences that say what to do. Pure; called by `GET /status`."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from gateway.contract.alias import UNANSWERED, Following
from gateway.contract.pool import Presence
from gateway.contract.rollout import Phase, Rollout
from gateway.contract.route import Route
from gateway.control.pools.report import Pool
from gateway.core.check import shares

# Why a gateway lets a request in no further -> what there is to be done.
_AT_THE_DOOR = {
    "unauthenticated": "they had no valid key: `turnout key list` shows which there are, "
    "`turnout key create NAME --role client` makes one",
    "forbidden": "their keys are not for that model, or may not choose a version: `turnout key list`",
    "over_limit": "they came faster than their key may send: `turnout key list` shows the rates",
}


def installation_problems(
    *,
    revision: int,
    gateways: Sequence[Presence],
    pools: Sequence[Pool],
    routes: Mapping[str, Route],
    route_problems: Mapping[str, Sequence[str]],
    rollouts: Sequence[Rollout] = (),
    rollouts_led: bool = True,
    followings: Mapping[str, Following] = MappingProxyType({}),
    refused: Mapping[str, int] = MappingProxyType({}),
    overloaded: Mapping[tuple[str, str], int] = MappingProxyType({}),
) -> list[str]:
    """Most urgent first. `refused`: by code, in a minute; `overloaded`: by model and version, in two."""
    return [
        *_gateways(revision, gateways),
        *(
            f"the route of {model} cannot be read ({found[0]}); gateways keep its last good form: "
            f"see `turnout route show {model}`"
            for model, found in sorted(route_problems.items())
        ),
        *_pools(pools, routes),
        *_refused(refused, overloaded),
        *_rollouts(rollouts, is_led=rollouts_led),
        *_followers(followings, routes),
    ]


def _gateways(revision: int, gateways: Sequence[Presence]) -> Iterator[str]:
    if not gateways:
        yield "no gateway is running: start one with `turnout gateway`"
    for gateway in gateways:
        if gateway.revision < revision:
            yield (
                f"gateway {gateway.gateway_id} at {gateway.address} serves revision {gateway.revision}, "
                f"not {revision}: see `turnout gateways`"
            )
        if gateway.problems:
            yield f"gateway {gateway.gateway_id} at {gateway.address} finds {gateway.problems} bad documents"


def _refused(refused: Mapping[str, int], overloaded: Mapping[tuple[str, str], int]) -> Iterator[str]:
    for code, todo in _AT_THE_DOOR.items():
        if number := refused.get(code):
            yield f"{_requests(number)} refused in the last minute: {todo}"
    for (model, version), number in overloaded.items():
        yield (
            f"{_requests(number)} refused in the last two minutes, since version {version} of {model} has "
            f"more than it can do: `turnout pools scale {model} {version} WORKERS`"
        )


def _requests(number: int) -> str:
    return f"{number} request was" if number == 1 else f"{number} requests were"


def _rollouts(rollouts: Sequence[Rollout], *, is_led: bool) -> Iterator[str]:
    for rollout in rollouts:
        named = f"the rollout of {rollout.model} to {rollout.candidate}"
        see = f"`turnout rollout status {rollout.model}`"
        if rollout.phase in (Phase.PAUSED, Phase.FROZEN):
            yield f"{named} is {rollout.phase} and waits for somebody: {rollout.sentence} ({see})"
        elif rollout.phase is Phase.RUNNING and not is_led:
            yield f"{named} stands still: no control process moves rollouts on ({see})"


def _followers(followings: Mapping[str, Following], routes: Mapping[str, Route]) -> Iterator[str]:
    for model, answered in sorted(followings.items()):
        follow = routes[model].follow if model in routes else None
        if follow is not None and follow.alias == answered.alias and answered.answer in UNANSWERED:
            yield (
                f"the route of {model} does not follow {answered.alias} to version {answered.version} yet, "
                f"{answered.answer}: {answered.sentence} (`turnout alias show {model}`)"
            )


def _pools(pools: Sequence[Pool], routes: Mapping[str, Route]) -> Iterator[str]:
    ready = {(pool.model, pool.version): pool.ready for pool in pools}
    for model, route in sorted(routes.items()):
        for version in sorted({version for _, version in shares(route)}):
            if not ready.get((model, version)):
                yield (
                    f"version {version} of {model} is to answer requests, but has no ready worker: "
                    f"`turnout pools scale {model} {version} 1`"
                )
    for pool in pools:
        if pool.is_short:
            why = f": {'; '.join(pool.lacks)}" if pool.lacks else ""
            named = f"version {pool.version} of {pool.model}"
            yield f"{named} has {pool.ready} of {pool.wanted} workers ready{why}"
        for worker in pool.workers:
            if worker.problem is not None:
                yield f"worker {worker.address} of {pool.model} {pool.version} {worker.problem}"
