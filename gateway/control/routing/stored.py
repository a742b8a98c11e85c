"""One route as it lies in Redis: readable or not, committed or edited by hand.

Every change goes through the store's commit, which writes the document and its history together. A document
that differs from the newest entry of its history was therefore written by somebody else; one that cannot be
read keeps its last good form on the gateways. Both are told to the operator, and both are mended by any
commit, for which the revision in the history counts.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gateway.contract import keys
from gateway.contract.envelope import Envelope
from gateway.contract.route import Route, problems_of
from gateway.store.documents import Documents

_READS = 3  # attempts to read document and history without a commit in between


@dataclass(frozen=True, slots=True)
class Stored:
    """`revision` is that of the last commit, 0 = none; `route` is None where there is no readable one.

    `last` is the newest entry of the history, which says who wrote it and when; `is_deleted` holds where the
    last commit was a deletion or there never was one.
    """

    model: str
    revision: int
    route: Route | None
    document: dict[str, Any] | None
    last: Envelope | None
    problems: tuple[str, ...]

    @property
    def exists(self) -> bool:
        return self.document is not None or bool(self.problems)


async def read_stored(documents: Documents, model: str) -> Stored:
    """The history is read first: a commit in between then shows as a document newer than its history."""
    field = keys.route_field(model)
    reads = 0
    while True:
        history = await documents.history(field, limit=1)
        present = await documents.get(field)
        last = history[0] if history else None
        reads += 1
        if present is None or last is None or present.revision <= last.revision or reads == _READS:
            return _stored(model, present, last)


def readable(model: str, document: Any) -> tuple[Route | None, tuple[str, ...]]:
    """The route that a document says, and why it says none."""
    if document is None:
        return None, ("document: what lies in Redis is not a document of Turnout",)
    try:
        route = Route.model_validate(document)
    except ValidationError as error:
        return None, tuple(problems_of(error))
    if route.model != model:
        return None, (f"model: the document is about {route.model}, but lies at {model}",)
    return route, ()


def _stored(model: str, present: Envelope | None, last: Envelope | None) -> Stored:
    revision = 0 if last is None else last.revision
    problems: tuple[str, ...]
    if present is None:
        removed = last is not None and last.doc is not None
        problems = (f"the route was removed from Redis by hand after revision {revision}",) if removed else ()
        return Stored(model, revision, None, None, last, problems)
    route, problems = readable(model, present.doc)
    if last is None:
        problems += ("the route was written into Redis by hand: no commit made it",)
    elif present.doc != last.doc:
        problems += (f"the document was edited by hand in Redis after revision {revision}",)
    return Stored(model, revision, route, present.doc, last, problems)
