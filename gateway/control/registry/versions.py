"""The registered versions, and how many workers each should have.

A version is immutable: registering the same content again changes nothing, other content is a conflict. Its
size and signature are read from the stored artifact, never taken from the caller. Version and number of
workers are written in one commit, so that a supervisor sees both or neither.
"""

from typing import Any

from pydantic import Field, ValidationError, field_validator

from gateway.contract import keys
from gateway.contract.envelope import Envelope
from gateway.contract.errors import CallerError, ConflictError
from gateway.contract.lineage import MAX_CARD_BYTES, Lineage
from gateway.contract.pool import Keep, Wanted
from gateway.contract.route import Document, Route
from gateway.contract.version import Version
from gateway.control.pools.wanted import readable_wanted, wish_change
from gateway.store.documents import Change, Documents, new_operation_id


class Registration(Document):
    """What a caller says about a version; without `workers` a new one gets 1, a known one keeps its own.

    `keep`: whether it has workers always, or while it is needed, as new ones have where nothing is said."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    source: str = Field(default="", max_length=2048)
    owner: str = Field(default="", max_length=256)
    notes: str = Field(default="", max_length=8192)
    metrics: dict[str, float] = Field(default_factory=dict, max_length=64)
    tags: dict[str, str] = Field(default_factory=dict, max_length=64)
    lineage: Lineage = Field(default_factory=Lineage)
    card: str = Field(default="", max_length=MAX_CARD_BYTES)
    workers: int | None = Field(default=None, ge=0, le=64)
    keep: Keep | None = None

    @field_validator("card")
    @classmethod
    def _short_card(cls, card: str) -> str:
        if len(card.encode()) > MAX_CARD_BYTES:
            raise ValueError(f"longer than {MAX_CARD_BYTES} bytes")
        return card


async def all_versions(documents: Documents, prefix: str = "version/") -> dict[tuple[str, str], Version]:
    """Every readable version document; one edited into nonsense is not a version."""
    found = (_readable(envelope) for envelope in (await documents.all(prefix)).values())
    return {(version.model, version.version): version for version in found if version is not None}


async def versions_of(documents: Documents, model: str) -> dict[str, Version]:
    prefix = keys.version_field(model, "")
    return {version.version: version for version in (await all_versions(documents, prefix)).values()}


async def registered(documents: Documents, model: str, version: str) -> tuple[Version, Envelope]:
    """The version with its envelope, or an error that says what there is instead."""
    envelope = await documents.get(keys.version_field(model, version))
    found = None if envelope is None else _readable(envelope)
    if found is not None and envelope is not None:
        return found, envelope
    known = await versions_of(documents, model)
    if not known:
        raise unknown_model(model)
    raise CallerError(
        "unknown_version", f"{model} has no version {version} (it has: {', '.join(sorted(known))})"
    )


def unknown_model(model: str) -> CallerError:
    return CallerError(
        "unknown_model",
        f"no version of {model} is registered: register one with "
        f"`turnout model register {model} --version 1 --from FILE`",
    )


def added_versions(route: Route | None, *, before: Route | None) -> list[str]:
    """Documents of the versions that a route newly names: a commit holds only while they are registered."""
    if route is None:
        return []
    known = set() if before is None else before.versions()
    return sorted(keys.version_field(route.model, version) for version in route.versions() - known)


async def register(
    documents: Documents,
    version: Version,
    *,
    workers: int | None,
    keep: Keep | None,
    until_ms: int,
    author: str,
) -> tuple[bool, int]:
    """Writes what is new; gives whether anything changed, and the version's revision. A new version's workers
    are asked for until then: so it is known at once whether they start."""
    field = keys.version_field(version.model, version.version)
    known = await documents.get(field)
    document = version.model_dump(mode="json")
    if known is not None and known.doc is not None and (differing := _differing(version, known)):
        raise _other_content(version, known, differing)
    is_new = known is None or known.doc is None
    changes = []
    if is_new:
        changes.append(Change(field, document, expected_revision=0 if known is None else None))
    before = readable_wanted(await documents.get(keys.wanted_field(version.model, version.version)))
    kept = keep or (Keep.NEEDED if before is None else before.keep)
    after = Wanted(
        workers=workers if workers is not None else 1 if before is None else before.workers,
        keep=kept,
        asked_until_ms=until_ms if kept is Keep.NEEDED else 0,
    )
    if is_new or before is None or (after.workers, after.keep) != (before.workers, before.keep):
        changes.append(wish_change(version.model, version.version, after))
    if not changes:
        return False, known.revision if known is not None else 0
    reason = f"register version {version.version} of {version.model}"
    committed = await documents.commit(changes, author=author, reason=reason, op_id=new_operation_id())
    return True, committed.revision


def _readable(envelope: Envelope) -> Version | None:
    try:
        return Version.model_validate(envelope.doc)
    except ValidationError:
        return None


def _differing(version: Version, known: Envelope) -> list[str]:
    """Names of fields. What is not said this time stays, and so does what the source said the first time: a
    repeated registration may find the same bytes under another branch."""
    new: dict[str, Any] = version.model_dump(mode="json")
    old = _readable(known)
    before: dict[str, Any] = {} if old is None else old.model_dump(mode="json")
    ignored = {"lineage", "producer", "opsets"}
    return sorted(name for name in new if name not in ignored and new[name] and new[name] != before.get(name))


def _other_content(version: Version, known: Envelope, differing: list[str]) -> ConflictError:
    return ConflictError(
        "conflict",
        f"version {version.version} of {version.model} was registered by {known.author} with other content "
        f"({', '.join(differing)}): a version never changes; give what it was registered with "
        f"(`turnout model show {version.model} {version.version}`), or choose another name for this one",
        model=version.model,
        current_revision=known.revision,
        author=known.author,
        at_ms=known.at_ms,
        reason=known.reason,
        changes=differing,
    )
