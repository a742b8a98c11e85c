"""How the route of a model follows its alias: read from Redis for the leader, told to people.

Called by `control.rollouts.follow`, and by the handlers of routes and aliases.
"""

from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from gateway.contract import keys
from gateway.contract.alias import Following
from gateway.contract.envelope import Envelope
from gateway.contract.route import Follow
from gateway.control.rollouts.found import readable_rollout
from gateway.control.routing.stored import Stored, read_stored
from gateway.core.follow import Seen, has_moved, moved_at, names, stands
from gateway.store.documents import Documents

HISTORY_READ = 100  # changes of a model's aliases that may have been between two looks


@dataclass(frozen=True, slots=True)
class Followed:
    """`following_revision` is that of the answer's document, 0 = there is none; `moved` is the alias' last
    move, as far as it is remembered."""

    follow: Follow
    seen: Seen
    stored: Stored
    aliases_revision: int
    following_revision: int
    moved: Envelope | None


async def read_followed(documents: Documents, model: str) -> Followed | None:
    """None where the route follows no alias, or cannot be read."""
    stored = await read_stored(documents, model)
    if stored.route is None or stored.route.follow is None:
        return None
    follow = stored.route.follow
    aliases, following, rollout = await documents.several(
        [keys.alias_field(model), keys.following_field(model), keys.rollout_field(model)]
    )
    revision = 0 if aliases is None else aliases.revision
    version = names(None if aliases is None else aliases.doc).get(follow.alias)
    answered = readable_following(following)
    history = await documents.history(keys.alias_field(model), limit=HISTORY_READ)
    history = [entry for entry in history if entry.revision <= revision]  # a later move is for a later look
    found = None if rollout is None else readable_rollout(rollout)
    seen = Seen(
        version=version,
        answered=answered,
        has_moved=has_moved(answered, version, history),
        route=stored.route,
        route_revision=stored.revision,
        route_author="" if stored.last is None else stored.last.author,
        rollout=None if found is None else found.rollout,
    )
    return Followed(
        follow,
        seen,
        stored,
        aliases_revision=revision,
        following_revision=0 if following is None else following.revision,
        moved=moved_at(follow.alias, history),
    )


def readable_following(envelope: Envelope | None) -> Following | None:
    """One that somebody edited into nonsense is none: the move is answered anew."""
    try:
        return None if envelope is None else Following.model_validate(envelope.doc)
    except ValidationError:
        return None


async def told_followed(documents: Documents, model: str, *, leader: str | None) -> dict[str, Any] | None:
    """`state` and `sentence` say what became of the alias' newest move; `rules` what refuses it."""
    found = await read_followed(documents, model)
    if found is None:
        return None
    how = stands(found.follow, found.seen)
    answered = found.seen.answered
    waits = how.state in ("unseen", "waiting", "refused")
    nobody = "; no control process leads, so nothing happens now" if waits and leader is None else ""
    return {
        "alias": found.follow.alias,
        "plan": found.follow.plan,
        "version": found.seen.version,
        **asdict(how),
        "sentence": how.sentence + nobody,
        "rules": answered.rules if answered is not None and how.state == "refused" else (),
        "rollout_id": answered.rollout_id if answered is not None and how.state != "unseen" else None,
    }
