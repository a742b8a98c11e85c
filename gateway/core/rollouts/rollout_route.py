"""Which route does a step of a rollout make, and which one is the way back?

A step changes the split, the candidate's entry among the shadows and the slots; everything else is the
operator's and stays, also what he changed meanwhile. A `shadow` step leaves the split alone; a `weight` step
keeps the proportions of the other versions, and takes the candidate's shadow away unless it asks for one
beside the weight; a `pause` changes nothing. A cutover makes the candidate's slot live where the route has
slots (or had them before the rollout), and else gives it the whole split.

Pure. Called by `core.rollouts.rollout` and `core.rollouts.rollout_commands`. Raises CallerError where no
valid route comes out.
"""

from typing import Any

from pydantic import ValidationError

from gateway.contract.errors import CallerError
from gateway.contract.plan import Step
from gateway.contract.rollout import Rollout
from gateway.contract.route import Route, problems_of
from gateway.core.slots import cut_over


def route_for(rollout: Rollout, step: Step, route: Route) -> Route:
    """`route` as this step makes it; of a cutover, after the switch."""
    if step.cutover is not None:
        return _cut_over(rollout, route)
    if step.weight is not None:
        weighted = _changed(route, split=_split(rollout, route, step.weight), slots=None)
        return _with_shadow(rollout, weighted, step.shadow or 0.0)
    if step.shadow is not None:
        return _with_shadow(rollout, route, step.shadow)
    return route


def route_now(rollout: Rollout, route: Route) -> Route:
    """`route` with everything that the rollout has made of it up to its present step."""
    reached = rollout.plan.steps[: rollout.step + 1]
    weighted = [index for index, step in enumerate(reached) if step.weight is not None]
    for step in reached[weighted[-1] if weighted else 0 :]:
        if step.cutover is None or rollout.switched:
            route = route_for(rollout, step, route)
    return route


def route_back(rollout: Rollout, route: Route | None) -> Route | None:
    """Split, shadows and slots as they were before; None where somebody deleted the route."""
    if route is None:
        return None
    before = rollout.before.model_dump(include={"split", "shadows", "slots"})
    return _changed(route, **before)


def route_after_success(rollout: Rollout, route: Route) -> Route:
    """A version that answers everything is nobody's shadow."""
    if share_of(route, rollout.candidate) < 100:
        return route
    return _with_shadow(rollout, route, 0.0)


def share_of(route: Route, version: str) -> float:
    """Percent of the requests that no rule takes."""
    return sum(entry.weight for entry in route.split if entry.version == version)


def heaviest(route: Route, *, but: str) -> str | None:
    """The version with most of the traffic, besides one."""
    others = [entry for entry in route.split if entry.version != but and entry.weight > 0]
    return max(others, key=lambda entry: entry.weight).version if others else None


def _split(rollout: Rollout, route: Route, weight: float) -> list[dict[str, Any]]:
    rest = 100 - weight
    others = {entry.version: entry.weight for entry in route.split if entry.version != rollout.candidate}
    total = sum(others.values())
    if total <= 0:
        others[rollout.baseline] = total = 1.0
    scaled = {version: rest * (had / total) for version, had in others.items()}
    order = [entry.version for entry in route.split] + [rollout.baseline, rollout.candidate]
    weights = scaled | {rollout.candidate: weight}
    return [
        {"version": version, "weight": weights[version]}
        for version in dict.fromkeys(order)
        if version in weights
    ]


def _with_shadow(rollout: Rollout, route: Route, percent: float) -> Route:
    kept = [shadow.model_dump() for shadow in route.shadows if shadow.version != rollout.candidate]
    if percent > 0:
        match = next((shadow.match for shadow in route.shadows if shadow.version == rollout.candidate), ())
        copied = {"version": rollout.candidate, "percent": percent}
        kept.append(copied | {"match": [condition.model_dump() for condition in match]})
    return _changed(route, shadows=kept)


def _cut_over(rollout: Rollout, route: Route) -> Route:
    slots = route.slots or rollout.before.slots
    if slots is not None:
        live = [{"version": slots.live_version, "weight": 100}]
        whole = _changed(route, slots=slots.model_dump(), split=live)
        return _with_shadow(rollout, cut_over(whole, to=rollout.candidate), 0.0)
    whole = _changed(route, split=_split(rollout, route, 100.0))
    return _with_shadow(rollout, whole, 0.0)


def _changed(route: Route, **fields: Any) -> Route:
    try:
        return Route.model_validate({**route.model_dump(), **fields})
    except ValidationError as error:
        problems = problems_of(error)
        raise CallerError(
            "invalid_document", "the route of this step would not be valid: " + problems[0], problems=problems
        ) from None
