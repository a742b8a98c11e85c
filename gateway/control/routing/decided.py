"""Which route decides now, and which one decided at an earlier revision?

The stored one if it can be read, else the newest form that could, which gateways keep serving. Earlier ones
come from the history, which keeps a bounded number of changes. Called by the handlers that explain and show
predictions.
"""

from dataclasses import dataclass

from gateway.contract import keys
from gateway.contract.envelope import Envelope
from gateway.control.routing.stored import read_stored, readable
from gateway.core.decide import CompiledRoute, compile_route
from gateway.store.documents import HISTORY_LENGTH, Documents


@dataclass(frozen=True, slots=True)
class Decided:
    """`by`: the commit that wrote the route; `problems`: what is wrong with the stored document now."""

    compiled: CompiledRoute
    by: Envelope
    problems: tuple[str, ...] = ()


async def decides_now(documents: Documents, model: str) -> Decided | None:
    """None where gateways have no route of this model."""
    stored = await read_stored(documents, model)
    if not stored.exists:
        return None
    if stored.route is not None and stored.last is not None:
        compiled = compile_route(stored.route, revision=stored.revision)
        return Decided(compiled, stored.last, stored.problems)
    for entry in await documents.history(keys.route_field(model)):
        good = _decided(model, entry, stored.problems)
        if good is not None:
            return good
    return None


async def decided_then(documents: Documents, model: str, revision: int) -> Decided | str:
    """The route of this revision, or the sentence that says why nobody knows it."""
    field = keys.route_field(model)
    entry = await documents.at(field, revision)
    if entry is not None and entry.revision == revision:
        found = _decided(model, entry, ())
        return found or f"what the history has at revision {revision} is not a route that can be read"
    if (entry is not None and entry.doc is None) or not await documents.history(field, limit=1):
        return (
            f"{model} had no route at revision {revision}: only requests that named a version were answered"
        )
    return (
        f"revision {revision} is not in the route history of {model} any more (it keeps the last "
        f"{HISTORY_LENGTH} changes)"
    )


def _decided(model: str, entry: Envelope, problems: tuple[str, ...]) -> Decided | None:
    route = None if entry.doc is None else readable(model, entry.doc)[0]
    if route is None:
        return None
    return Decided(compile_route(route, revision=entry.revision), entry, problems)
