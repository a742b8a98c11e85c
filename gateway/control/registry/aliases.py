"""Moving an alias: asked of policy, then one commit of all aliases of the model.

What a route makes of the move that follows the alias is another commit, by whoever leads the rollouts
(`control.rollouts.follow`): a move is made and answered also while nobody leads. Called by the handlers of
`control.api.aliases`.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from gateway.contract import keys
from gateway.contract.access import Role
from gateway.contract.alias import Aliases
from gateway.contract.errors import CallerError
from gateway.control.parts import Parts
from gateway.control.registry.versions import registered
from gateway.control.routing.governance import broken_by_alias, refuse
from gateway.control.routing.stored import read_stored
from gateway.core.follow import names
from gateway.store.documents import Change, Documents, new_operation_id

_HISTORY_READ = 100


@dataclass(frozen=True, slots=True)
class Move:
    """`version` None removes the alias; `expected_revision` is that of the model's aliases."""

    model: str
    alias: str
    version: str | None
    author: str
    expected_revision: int | None = None
    reason: str = ""
    dry_run: bool = False
    force: bool = False
    role: Role = Role.ADMIN


@dataclass(frozen=True, slots=True)
class Moved:
    """Aliases after the move, their revision, and what the operator should know."""

    aliases: Aliases
    revision: int
    changed: bool
    warnings: tuple[str, ...]


async def read_aliases(documents: Documents, model: str) -> tuple[Aliases, int]:
    """Aliases and their revision, 0 = none were ever set; unreadable ones count as none."""
    envelope = await documents.get(keys.alias_field(model))
    if envelope is None:
        return Aliases(), 0
    try:
        return Aliases.model_validate(envelope.doc), envelope.revision
    except ValidationError:
        return Aliases(), envelope.revision


async def move_alias(parts: Parts, move: Move) -> Moved:
    """Raises `refused` with the rules of policy that the move breaks, unless it is forced."""
    before, revision = await read_aliases(parts.documents, move.model)
    if move.version is not None:
        await registered(parts.documents, move.model, move.version)
    elif move.alias not in before.aliases:
        raise CallerError("not_found", f"{move.model} has no alias {move.alias}")
    asked = revision if move.expected_revision is None else move.expected_revision
    after = {name: named for name, named in before.aliases.items() if name != move.alias}
    after |= {} if move.version is None else {move.alias: move.version}
    if after == before.aliases and asked == revision:
        return Moved(before, revision, changed=False, warnings=())
    overridden = await _ask_policy(parts, move)
    try:
        aliases = Aliases(aliases=after)
    except ValidationError:
        raise CallerError("invalid_document", f"{move.model} has too many aliases") from None
    if not move.dry_run:
        change = Change(
            keys.alias_field(move.model), aliases.model_dump(mode="json"), expected_revision=asked
        )
        now = before.aliases.get(move.alias, "none")
        words = f"alias {move.alias} of {move.model}: {now} -> {move.version or 'none'}"
        said = f"{words} ({move.reason})" if move.reason else words
        forced = (overridden or ("nothing stood against it",)) if move.force else ()
        committed = await parts.documents.commit(
            [change],
            author=move.author,
            reason=said,
            op_id=new_operation_id(),
            forced=forced,
            requires={} if move.version is None else {keys.version_field(move.model, move.version): None},
        )
        revision = committed.revision
    return Moved(aliases, revision, changed=True, warnings=overridden + await _of_route(parts, move))


async def _ask_policy(parts: Parts, move: Move) -> tuple[str, ...]:
    if move.version is None:
        return ()
    asked = (parts, move.model, move.alias, move.version)
    broken = await broken_by_alias(*asked, is_return=await is_return(*asked))
    return refuse(broken, force=move.force, reason=move.reason, role=move.role)


async def is_return(parts: Parts, model: str, alias: str, version: str) -> bool:
    """Is it what the alias named just before?"""
    history = await parts.documents.history(keys.alias_field(model), limit=_HISTORY_READ)
    named = [names(entry.doc).get(alias) for entry in history]
    others = [other for other in named if other != named[0]]
    return bool(others) and others[0] == version


async def _of_route(parts: Parts, move: Move) -> tuple[str, ...]:
    """What the move does to traffic."""
    route = (await read_stored(parts.documents, move.model)).route
    if route is None or route.follow is None or route.follow.alias != move.alias:
        return ()
    follows = f"the route of {move.model} follows {move.alias}"
    if move.version is None:
        return (f"{follows}: its traffic stays as it is until the alias names a version again",)
    by = f"by a rollout with plan {route.follow.plan}" if route.follow.plan else "with all requests at once"
    nobody = "" if await parts.leases.leader() else "; no control process leads now, so it waits for one"
    return (f"{follows}: it goes there {by}, as policy allows (`turnout alias show {move.model}`){nobody}",)
