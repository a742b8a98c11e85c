"""Blue/green: to which route does a cutover lead, and to which the way back?

Two environments, `blue` and `green`, each hold a version, and `live` names the one that answers. A cutover
puts the new version into the idle slot and makes it live; the version that was live stays in its slot, so
that the way back is one switch. A route without slots gets them at its first cutover.

Pure. Called by `control.routing.cutover`, and by `core.edit` where a split dissolves the slots.
"""

from typing import Literal

from gateway.contract.errors import CallerError
from gateway.contract.route import Route, Slots

_OTHER: dict[str, Literal["blue", "green"]] = {"blue": "green", "green": "blue"}


def cut_over(route: Route, *, to: str) -> Route:
    """The route with `to` live. With a split over several versions the heaviest other one stays behind."""
    slots = route.slots or Slots(blue=_stays_behind(route, to=to), live="blue")
    if slots.live_version == to:
        return _with_slots(route, slots)
    idle = _OTHER[slots.live]
    return _with_slots(route, slots.model_copy(update={idle: to, "live": idle}))


def cut_back(route: Route) -> Route:
    """The route with the other slot live."""
    if route.slots is None:
        raise CallerError(
            "bad_request",
            f"{route.model} has no blue and green slots to go back to: the last change of any kind is undone "
            f"by `turnout route rollback {route.model}`",
        )
    other = _OTHER[route.slots.live]
    if getattr(route.slots, other) is None:
        raise CallerError(
            "bad_request", f"slot {other} of {route.model} is empty: there is nothing to go back to"
        )
    return _with_slots(route, route.slots.model_copy(update={"live": other}))


def live_version(route: Route) -> str | None:
    """The one version that answers requests which no rule takes; None while several do."""
    answering = [entry.version for entry in route.split if entry.weight > 0]
    return answering[0] if len(answering) == 1 else None


def _stays_behind(route: Route, *, to: str) -> str:
    others = [entry for entry in route.split if entry.version != to and entry.weight > 0]
    return max(others, key=lambda entry: entry.weight).version if others else to


def _with_slots(route: Route, slots: Slots) -> Route:
    fields = route.model_dump(exclude={"slots", "split"})
    return Route.model_validate({**fields, "slots": slots.model_dump()})
