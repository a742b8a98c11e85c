"""Why does each version need workers? The same rule that supervisors follow, over the same documents.

Called by the handlers of pools, models and status, which tell what is needed beside what is there.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from gateway.contract import keys
from gateway.contract.envelope import Envelope
from gateway.contract.pool import Keep, Wanted
from gateway.contract.rollout import Rollout
from gateway.contract.version import Version
from gateway.control.pools.wanted import readable_wanted
from gateway.core.need import Need, forms_of, needs
from gateway.store.documents import Documents

FORMS_READ = 50  # as supervisors read


@dataclass(slots=True)
class _Model:
    versions: dict[str, Version] = field(default_factory=dict)
    wanted: dict[str, Wanted] = field(default_factory=dict)
    route: Envelope | None = None
    rollout: Rollout | None = None


@dataclass(frozen=True, slots=True)
class Needs:
    """By model and version; what cannot be read is not in it."""

    versions: Mapping[tuple[str, str], Version]
    wanted: Mapping[tuple[str, str], Wanted]
    needs: Mapping[tuple[str, str], Need]


async def all_needs(
    documents: Documents,
    *,
    now_ms: int,
    keep_warm_s: float,
    model: str | None = None,
    versions: Mapping[str, Mapping[str, Version]] | None = None,
) -> Needs:
    """Of one model, or of all; `versions` of each model, where they are known already, are not read again."""
    kinds = (
        ("wanted", "route", "rollout") if versions is not None else ("version", "wanted", "route", "rollout")
    )
    models = _models(await documents.all(tuple(f"{kind}/{model or ''}" for kind in kinds)), model)
    for name, registered in (versions or {}).items():
        if model in (None, name):
            models[name].versions.update(registered)
    found: dict[tuple[str, str], Need] = {}
    for name, known in models.items():
        history = await _history(documents, name, known, oldest_ms=now_ms - round(keep_warm_s * 1000))
        decided = needs(
            wanted={version: wish for version, wish in known.wanted.items() if version in known.versions},
            forms=forms_of(known.route, history),
            rollout=known.rollout,
            keep_warm_s=keep_warm_s,
        )
        found |= {(name, version): need for version, need in decided.items() if need.is_on(now_ms)}
    return Needs(
        {(name, version): item for name, known in models.items() for version, item in known.versions.items()},
        {(name, version): item for name, known in models.items() for version, item in known.wanted.items()},
        found,
    )


def _models(documents: Mapping[str, Envelope], only: str | None) -> defaultdict[str, _Model]:
    models: defaultdict[str, _Model] = defaultdict(_Model)
    for name, envelope in documents.items():
        kind, _, rest = name.partition("/")
        model, _, version = rest.partition("/")
        if only not in (None, model):
            continue
        if kind == "route":
            models[model].route = envelope
        elif kind == "wanted" and (wish := readable_wanted(envelope)) is not None:
            models[model].wanted[version] = wish
        elif kind in ("version", "rollout"):
            _take(models[model], kind, version, envelope)
    return models


def _take(known: _Model, kind: str, version: str, envelope: Envelope) -> None:
    try:
        if kind == "version":
            known.versions[version] = Version.model_validate(envelope.doc)
        else:
            known.rollout = Rollout.model_validate(envelope.doc)
    except ValidationError:
        return


async def _history(documents: Documents, name: str, known: _Model, *, oldest_ms: int) -> list[Envelope]:
    """Of the route, where an earlier form may still be warm."""
    is_by_need = any(wish.keep is Keep.NEEDED for wish in known.wanted.values())
    is_old = known.route is not None and known.route.doc is not None and known.route.at_ms < oldest_ms
    if not is_by_need or is_old:
        return []
    return await documents.history(keys.route_field(name), limit=FORMS_READ)
