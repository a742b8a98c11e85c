"""Which models have a rollout that is not over, and of which that follow an alias did anything change?

Found by following commits, not by reading all documents.

A copy of what Redis says, made anew when Redis lost data. Called by `control.rollouts.controller`.
"""

import orjson

from gateway.contract.rollout import ENDED
from gateway.store.documents import Documents

PREFIX = "rollout/"
_OF_ROUTE = "route/"
_MATTERS = ("alias/", "route/", "rollout/", "following/", "version/", "standing/")  # then the model's name
_OF_POLICY = "policy/"


class LiveRollouts:
    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._revision = 0
        self._models: set[str] = set()
        self._following: set[str] = set()
        self._changed: set[str] = set()

    async def models(self) -> list[str]:
        """In the alphabet's order; one page of documents is read at a time."""
        page = await self._documents.page(self._revision)
        if page.revision < self._revision:
            self._revision, self._models, self._following = 0, set(), set()
            page = await self._documents.page(0)
        self._take(page.changed)
        while not page.is_last:
            page = await self._documents.page(page.upto)
            self._take(page.changed)
        self._revision = page.revision
        return sorted(self._models)

    def look_at_all(self) -> None:
        """Who begins to lead does not know what others saw."""
        self._changed |= self._following

    def changed(self) -> set[str]:
        """Models whose route follows an alias, or did, and of which something changed that may matter since
        this was asked last; asked after `models`."""
        changed, self._changed = self._changed, set()
        return changed

    def _take(self, changed: dict[str, bytes | None]) -> None:
        for field, raw in changed.items():
            if field.startswith(PREFIX):
                model = field.removeprefix(PREFIX)
                if _is_live(raw):
                    self._models.add(model)
                else:
                    self._models.discard(model)
            elif field.startswith(_OF_ROUTE):
                self._take_route(field.removeprefix(_OF_ROUTE), raw)
        # Routes first: a page names a model's documents in any order.
        for field in changed:
            if field.startswith(_OF_POLICY):
                self._changed |= self._following
            elif field.startswith(_MATTERS):
                model = field.split("/", 2)[1]
                if model in self._following or field.startswith("following/"):
                    self._changed.add(model)

    def _take_route(self, model: str, raw: bytes | None) -> None:
        if raw is not None and b'"follow"' in raw:  # or a word of the document: then there is a look too many
            self._following.add(model)
        elif model in self._following:
            self._following.remove(model)
            self._changed.add(model)


def _is_live(raw: bytes | None) -> bool:
    """One that cannot be read counts: the controller says so each time it looks."""
    if raw is None:
        return False
    try:
        return orjson.loads(raw)["doc"]["phase"] not in ENDED
    except (ValueError, KeyError, TypeError):
        return True
