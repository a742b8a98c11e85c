"""Why does each version of a model need workers? The rule that supervisors follow, over the same documents.

`Known` is what the documents say of one model; it is decided anew when one of them changes, and what nothing
needs any more is not looked at again. Fed by `control.registry.catalogue`, read by `pools.report`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from gateway.contract.envelope import Envelope
from gateway.contract.pool import Wanted
from gateway.contract.rollout import Rollout
from gateway.contract.version import Version
from gateway.core.need import Form, Need, forms_of, needs

FORMS_READ = 50  # as supervisors read
KINDS = frozenset({"version", "wanted", "route", "rollout"})
Document = TypeVar("Document", bound=BaseModel)


@dataclass(slots=True)
class Known:
    """What cannot be read is not in it. `idle`: how pools without need and workers are told, as JSON; kept by
    whoever tells them until the next change."""

    versions: dict[str, Version] = field(default_factory=dict)
    wanted: dict[str, Wanted] = field(default_factory=dict)
    forms: Sequence[Form] = ()
    rollout: Rollout | None = None
    idle: dict[str, orjson.Fragment] = field(default_factory=dict)
    _needs: dict[str, Need] = field(default_factory=dict)
    _ends_ms: float = math.inf  # when the first of them ends

    @property
    def says_nothing(self) -> bool:
        return not (self.versions or self.wanted or self.forms or self.rollout)

    def take(self, kind: str, version: str, document: Any) -> None:
        """One document of `KINDS` but a route; None where it was deleted."""
        match kind:
            case "version":
                _put(self.versions, version, _read(Version, document))
            case "wanted":
                _put(self.wanted, version, _read(Wanted, document))
            case "rollout":
                self.rollout = _read(Rollout, document)

    def take_route(self, present: Envelope | None, history: Sequence[Envelope]) -> None:
        """`history`: newest first, as far as an earlier form may still be warm."""
        self.forms = tuple(forms_of(present, history))

    def decide(self, *, keep_warm_s: float) -> None:
        """After all that changed was taken."""
        self.idle.clear()
        wanted = {version: wish for version, wish in self.wanted.items() if version in self.versions}
        self._keep(needs(wanted=wanted, forms=self.forms, rollout=self.rollout, keep_warm_s=keep_warm_s))

    def needs(self, now_ms: int) -> Mapping[str, Need]:
        """By version. A need that has ended comes back with a document only."""
        if now_ms >= self._ends_ms:
            self._keep({version: need for version, need in self._needs.items() if need.is_on(now_ms)})
        return self._needs

    def _keep(self, needs: dict[str, Need]) -> None:
        self._needs = needs
        ends = (need.until_ms for need in needs.values())
        self._ends_ms = min((end_ms for end_ms in ends if end_ms is not None), default=math.inf)


def _put(found: dict[str, Document], version: str, document: Document | None) -> None:
    if document is None:
        found.pop(version, None)
    else:
        found[version] = document


def _read(kind: type[Document], document: Any) -> Document | None:
    try:
        return None if document is None else kind.model_validate(document)
    except ValidationError:
        return None
