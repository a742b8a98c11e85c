"""Taking a version out of the registry, and changing its tags: all that may change of it.

A version that a route or an alias names stays; the refusal says which. Between that look and the commit a
route may come to name it: it then names a version that is not registered any more. The wish for workers goes
with the version; the file stays in the store, since other versions may have the same. Called by the handlers
of `control.api.models`.
"""

import uuid

from gateway.contract import keys
from gateway.contract.errors import CallerError, ConflictError
from gateway.control.aliases import read_aliases
from gateway.control.registry import registered
from gateway.control.stored import read_stored
from gateway.core.check import named_versions
from gateway.store.documents import Change, Documents


async def remove(documents: Documents, model: str, version: str, *, author: str, reason: str) -> int:
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
