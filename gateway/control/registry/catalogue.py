"""All registered versions in memory, following the revision as gateways do, so that lists and searches stay
fast.

Every question first asks Redis for what changed since the last one: an answer is as new as a read of
everything would be. Pages may arrive out of order when two questions overlap; one that is not newer than what
is here is dropped, for it says nothing new. Called by the handlers that list and search.
"""

from pydantic import ValidationError

from gateway.contract.envelope import Envelope
from gateway.contract.version import Version
from gateway.store.documents import Documents, Page

_PREFIX = "version/"


class Catalogue:
    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._upto = 0
        self._models: dict[str, dict[str, Version]] = {}

    async def models(self) -> dict[str, dict[str, Version]]:
        """Model -> version -> document. Shared: not to be changed."""
        while True:
            since = self._upto
            page = await self._documents.page(since)
            if page.revision < self._upto:  # Redis lost its data: begin again
                self._upto, self._models = 0, {}
                continue
            if page.upto > self._upto:
                self._take(page)
            if page.is_last:
                return self._models

    def _take(self, page: Page) -> None:
        self._upto = page.upto
        for field, raw in page.changed.items():
            if not field.startswith(_PREFIX):
                continue
            _, model, name = field.split("/", 2)
            version = None if raw is None else _version(raw)
            if version is not None:
                self._models.setdefault(model, {})[name] = version
            elif model in self._models:
                self._models[model].pop(name, None)
                if not self._models[model]:
                    del self._models[model]


def _version(raw: bytes) -> Version | None:
    try:
        return Version.model_validate(Envelope.model_validate_json(raw).doc)
    except ValidationError:
        return None
