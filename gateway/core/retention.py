"""How long must, and may, things be kept? Of records: the route's time to keep them. Of versions: how long
one that ended stays registered, and with it its artefact.

Pure. `core.policy` asks for changes of routes, the control API before a version is removed.
"""

from collections.abc import Iterable, Iterator, Sequence

from gateway.contract.policy import Policy
from gateway.contract.route import Route
from gateway.contract.standing import ENDED, State
from gateway.core.broken import Broken, broken

_DAY_S = 86_400


def judge_records(policy: Policy, before: Route | None, after: Route) -> Iterator[Broken]:
    """Only what the change makes worse: a route that broke the rule before it was written may stay so."""
    had, has = None if before is None else before.record.ttl_s, after.record.ttl_s
    sentences = [
        *(_too_long(policy, after) if had is None or has > had else ()),
        *(_too_short(policy, after) if had is None or has < had else ()),
    ]
    for sentence in sentences:
        yield broken(policy, "retention", sentence)


def routes_against(policy: Policy, routes: Iterable[Route]) -> list[str]:
    """What of the installation breaks a policy's retention already, since it is older."""
    return [
        f"{route.model}: {sentence}"
        for route in routes
        if policy.is_about(route.model)
        for sentence in (*_too_long(policy, route), *_too_short(policy, route))
    ]


def judge_removal(
    policies: Sequence[Policy], *, model: str, version: str, state: State, ended_days: float
) -> tuple[Broken, ...]:
    """May a version be taken out of the registry? `ended_days`: for how long it is in its state."""
    return tuple(
        broken(policy, "retention", sentence)
        for policy in policies
        if policy.is_about(model) and policy.retention.artefacts_days is not None
        for sentence in _kept(version, policy.retention.artefacts_days, state, ended_days)
    )


def _kept(version: str, days: float, state: State, ended_days: float) -> Iterator[str]:
    if state not in ENDED:
        yield (
            f"version {version} is {state.value}: a version is kept for {days:g} days after it was "
            "retired or rejected, so that has to come first"
        )
    elif ended_days < days:
        yield (
            f"version {version} is {state.value} for {ended_days:.1f} days, and is kept for {days:g}: it may "
            f"go in {days - ended_days:.1f} days"
        )


def _too_long(policy: Policy, route: Route) -> Iterator[str]:
    kept, most = route.record.ttl_s / _DAY_S, policy.retention.records_days
    if most is not None and kept > most:
        yield f"record.ttl_s keeps predictions {kept:g} days; {most:g} are allowed"


def _too_short(policy: Policy, route: Route) -> Iterator[str]:
    kept, least = route.record.ttl_s / _DAY_S, policy.retention.records_min_days
    if least is not None and kept < least:
        yield f"record.ttl_s keeps predictions {kept:g} days; at least {least:g} are asked for"
