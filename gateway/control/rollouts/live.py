"""Which models have a rollout that is not over? Found by following commits, not by reading all documents.

A copy of what Redis says, made anew when Redis lost data. Called by `control.rollouts.controller`.
"""

import orjson

from gateway.contract.rollout import ENDED
from gateway.store.documents import Documents

PREFIX = "rollout/"


class LiveRollouts:
    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._revision = 0
        self._models: set[str] = set()

    async def models(self) -> list[str]:
        """In the alphabet's order; one page of documents is read at a time."""
        page = await self._documents.page(self._revision)
        if page.revision < self._revision:
            self._revision, self._models = 0, set()
            page = await self._documents.page(0)
        self._take(page.changed)
        while not page.is_last:
            page = await self._documents.page(page.upto)
            self._take(page.changed)
        self._revision = page.revision
        return sorted(self._models)

    def _take(self, changed: dict[str, bytes | None]) -> None:
        for field, raw in changed.items():
            if field.startswith(PREFIX):
                model = field.removeprefix(PREFIX)
                if _is_live(raw):
                    self._models.add(model)
                else:
                    self._models.discard(model)


def _is_live(raw: bytes | None) -> bool:
    """One that cannot be read counts: the controller says so each time it looks."""
    if raw is None:
        return False
    try:
        return orjson.loads(raw)["doc"]["phase"] not in ENDED
    except (ValueError, KeyError, TypeError):
        return True
