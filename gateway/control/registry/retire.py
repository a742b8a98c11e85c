"""Taking a version out of the registry, and changing its tags: all that may change of it.

A version that a route, an alias or a rollout names stays; the refusal says which. The commit rests on the
revisions that were looked at, and those who name a version rest theirs on its being there: of a removal and
an edit at once, one is a conflict. The wish for workers goes with the version; the file stays in the store
until `control.registry.collect` finds that no version has it. Called by the handlers of `control.api.models`
and `control.api.aliases`."""

import uuid
from collections.abc import Sequence

from gateway.contract import keys
from gateway.contract.errors import CallerError, ConflictError
from gateway.control.registry.aliases import read_aliases
from gateway.control.registry.versions import registered
from gateway.control.rollouts.found import find_rollout
from gateway.control.routing.stored import read_stored
from gateway.core.check import named_versions
from gateway.store.documents import Change, Documents


async def remove(
    documents: Documents, model: str, version: str, *, author: str, reason: str, forced: Sequence[str] = ()
) -> int:
    """The revision without it; `refused` where it is in use."""
    _, envelope = await registered(documents, model, version)
    users, looked_at = await users_of(documents, model, version)
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
        requires=looked_at,
    )
    return committed.revision


async def users_of(documents: Documents, model: str, version: str) -> tuple[list[str], dict[str, int]]:
    """Places of the route, aliases and rollouts; and the documents that say so, with their revisions."""
    stored = await read_stored(documents, model)
    aliases, alias_revision = await read_aliases(documents, model)
    rollout = await find_rollout(documents, model)
    looked_at = {
        keys.route_field(model): stored.revision if stored.exists else 0,
        keys.alias_field(model): alias_revision,
        keys.rollout_field(model): 0 if rollout is None else rollout.revision,
    }
    if stored.exists and stored.route is None:
        return ["the route cannot be read, so it may name it"], looked_at
    places = [] if stored.route is None else named_versions(stored.route)
    users = [f"route {path}" for path, named in places if named == version]
    if stored.route is not None and not users and version in stored.route.versions():
        users.append("route")
    users += [f"alias {name}" for name, named in sorted(aliases.aliases.items()) if named == version]
    if rollout is not None and not rollout.rollout.is_over:
        users += ["rollout"] if version in (rollout.rollout.candidate, rollout.rollout.baseline) else []
    return users, looked_at


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
