"""All registered versions, and what needs them, in memory: following the revision as gateways and supervisors
do, so that lists, searches and pools stay fast.

Every question first asks Redis for what changed since the last one: an answer is as new as a read of
everything would be. Pages may arrive out of order when two questions overlap; one that is not newer than what
is here is dropped, for it says nothing new. Called by the handlers that list, search and tell of pools.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.contract.envelope import Envelope
from gateway.contract.version import Version
from gateway.control.pools.needs import FORMS_READ, KINDS, Known
from gateway.store.documents import Documents, Page, read_envelope

AT_ONCE = 200  # documents that are taken in before others get their turn: a few ms
Routes = Mapping[str, tuple[Envelope | None, Sequence[Envelope]]]  # as they are, and their histories


class Catalogue:
    def __init__(self, documents: Documents, *, keep_warm_s: float) -> None:
        self._documents = documents
        self._keep_warm_s = keep_warm_s
        self._upto = 0
        self.revision = 0  # that of the last answer
        self._known: dict[str, Known] = {}

    async def models(self) -> dict[str, dict[str, Version]]:
        """Model -> version -> document. Shared: not to be changed."""
        known = await self.known()
        return {model: one.versions for model, one in known.items() if one.versions}

    async def known(self) -> Mapping[str, Known]:
        """Of each model. Shared: not to be changed."""
        while True:
            page = await self._documents.page(self._upto, most=AT_ONCE)
            if page.revision < self._upto:  # Redis lost its data: begin again
                self._upto, self._known = 0, {}
                continue
            routes = await self._routes(page)
            if page.upto > self._upto:
                self._upto = page.upto
                self._take(page, routes)
            if page.is_last:
                self.revision = page.revision
                return self._known

    async def _routes(self, page: Page) -> Routes:
        """With their histories, where an earlier form may still be warm."""
        routes = {
            field: None if raw is None else read_envelope(raw, field)
            for field, raw in page.changed.items()
            if field.startswith("route/")
        }
        if not routes:
            return {}
        oldest_ms = await self._documents.now_ms() - round(self._keep_warm_s * 1000)
        warm = [
            field
            for field, route in routes.items()
            if route is None or route.doc is None or route.at_ms >= oldest_ms
        ]
        histories = dict(zip(warm, await self._documents.histories(warm, FORMS_READ), strict=True))
        return {field: (route, histories.get(field, ())) for field, route in routes.items()}

    def _take(self, page: Page, routes: Routes) -> None:
        changed: set[str] = set()
        for field, raw in page.changed.items():
            kind, model, version = (*field.split("/", 2), "", "")[:3]
            if kind not in KINDS:
                continue
            changed.add(model)
            known = self._known.setdefault(model, Known())
            if kind == "route":
                known.take_route(*routes[field])
            else:
                known.take(kind, version, None if raw is None else _document(raw))
        for model in changed:
            self._known[model].decide(keep_warm_s=self._keep_warm_s)
            if self._known[model].says_nothing:
                del self._known[model]


def _document(raw: bytes) -> Any:
    """Out of its envelope, which is not looked at: there are many. None for one edited into nonsense."""
    try:
        return orjson.loads(raw)["doc"]
    except (ValueError, KeyError, TypeError):
        return None
