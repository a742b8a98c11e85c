"""Taking a version out of the registry, changing its tags (all that may change of it), and moving aliases.

A version that a route or an alias names stays; the refusal says which. Between that look and the commit a
route may come to name it: it then names a version that is not registered any more. The wish for workers goes
with the version; the file stays in the store, since other versions may have the same. Called by the handlers
of `control.api.models` and `control.api.aliases`.
"""

import uuid
from collections.abc import Sequence

from pydantic import ValidationError

from gateway.contract import keys
from gateway.contract.alias import Aliases
from gateway.contract.errors import CallerError, ConflictError
from gateway.control.registry import registered
from gateway.control.stored import read_stored
from gateway.core.check import named_versions
from gateway.store.documents import Change, Documents


async def remove(
    documents: Documents, model: str, version: str, *, author: str, reason: str, forced: Sequence[str] = ()
) -> int:
    """The revision without it; `refused` where it is in use."""
    _, envelope = await registered(documents, model, version)
    users = await users_of(documents, model, version)
    if users:
        raise ConflictError(
            "conflict",
            f"version {version} of {model} is in use ({', '.join(users)}): move these away first",
            users=users,
        )
    changes = [Change(keys.version_field(model, version), None, expected_revision=envelope.revision)]
    wanted = await documents.get(keys.wanted_field(model, version))
    if wanted is not None:
        changes.append(
            Change(keys.wanted_field(model, version), None, expected_revision=wanted.revision or None)
        )
    committed = await documents.commit(
        changes,
        author=author,
        reason=reason or f"remove version {version} of {model}",
        op_id=uuid.uuid4().hex,
        forced=forced,
    )
    return committed.revision


async def users_of(documents: Documents, model: str, version: str) -> list[str]:
    """Places of the route, and aliases."""
    stored = await read_stored(documents, model)
    if stored.exists and stored.route is None:
        return ["the route cannot be read, so it may name it"]
    places = [] if stored.route is None else named_versions(stored.route)
    users = [f"route {path}" for path, named in places if named == version]
    if stored.route is not None and not users and version in stored.route.versions():
        users.append("route")
    aliases, _ = await read_aliases(documents, model)
    return users + [f"alias {name}" for name, named in sorted(aliases.aliases.items()) if named == version]


async def retag(
    documents: Documents, model: str, version: str, tags: dict[str, str | None], *, author: str
) -> tuple[dict[str, str], int]:
    """The tags after the change (None removes one), and the version's revision."""
    found, envelope = await registered(documents, model, version)
    after = {**found.tags, **tags}
    kept = {name: value for name, value in after.items() if value is not None}
    if len(kept) > 64:
        raise CallerError("invalid_document", "a version has at most 64 tags")
    if kept == found.tags:
        return kept, envelope.revision
    document = {**found.model_dump(mode="json"), "tags": kept}
    change = Change(keys.version_field(model, version), document, expected_revision=envelope.revision)
    reason = f"tags of version {version} of {model}: {', '.join(sorted(tags))}"
    committed = await documents.commit([change], author=author, reason=reason, op_id=uuid.uuid4().hex)
    return kept, committed.revision


async def read_aliases(documents: Documents, model: str) -> tuple[Aliases, int]:
    """Aliases and their revision, 0 = none were ever set; unreadable ones count as none."""
    envelope = await documents.get(keys.alias_field(model))
    if envelope is None:
        return Aliases(), 0
    try:
        return Aliases.model_validate(envelope.doc), envelope.revision
    except ValidationError:
        return Aliases(), envelope.revision


async def move_alias(
    documents: Documents,
    model: str,
    alias: str,
    version: str | None,
    *,
    expected_revision: int | None,
    author: str,
    reason: str,
) -> tuple[Aliases, int, bool]:
    """Aliases, their revision, and whether anything changed; version None removes the alias."""
    before, revision = await read_aliases(documents, model)
    if version is not None:
        await registered(documents, model, version)
    elif alias not in before.aliases:
        raise CallerError("not_found", f"{model} has no alias {alias}")
    asked = revision if expected_revision is None else expected_revision
    after = {name: named for name, named in before.aliases.items() if name != alias}
    after |= {} if version is None else {alias: version}
    if after == before.aliases and asked == revision:
        return before, revision, False
    try:
        aliases = Aliases(aliases=after)
    except ValidationError:
        raise CallerError("invalid_document", f"{model} has too many aliases") from None
    change = Change(keys.alias_field(model), aliases.model_dump(mode="json"), expected_revision=asked)
    words = f"alias {alias} of {model}: {before.aliases.get(alias, 'none')} -> {version or 'none'}"
    said = f"{words} ({reason})" if reason else words
    committed = await documents.commit([change], author=author, reason=said, op_id=uuid.uuid4().hex)
    return aliases, committed.revision, True
