"""May a route follow this alias by this plan: can the plan be read, does the alias name a version?

Asked only where `follow` changes. Called by `control.routing.change` before every commit of routes.
"""

from gateway.contract import keys
from gateway.contract.errors import CallerError
from gateway.contract.route import Route
from gateway.control.parts import Parts
from gateway.control.rollouts.templates import Templates
from gateway.core.follow import names


async def check_follow(
    parts: Parts, route: Route, *, before: Route | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Problems, and warnings."""
    follow = route.follow
    if follow is None or (before is not None and before.follow == follow):
        return (), ()
    problems: tuple[str, ...] = ()
    if follow.plan is not None:
        try:
            Templates(parts.settings.plans_dir).plan(follow.plan)
        except CallerError as error:
            problems = (f"follow.plan: {error.message}",)
    envelope = await parts.documents.get(keys.alias_field(route.model))
    version = names(None if envelope is None else envelope.doc).get(follow.alias)
    if version is None:
        set_it = f"turnout alias set {route.model} {follow.alias} VERSION"
        return problems, (f"{follow.alias} names no version yet: traffic stays as it is until `{set_it}`",)
    return problems, ()
