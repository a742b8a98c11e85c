"""An alias moved: what does the route that follows it do?

A move is answered once. Until it is (a rollout of somebody else goes on, policy refuses, no worker is ready)
it is tried again; once it is, the route is not touched before the alias moves again, whatever becomes of the
rollout and whatever somebody does to the route by hand. So a version that was rolled back is not tried again
by itself, and a hand always wins.

Pure. `decide` is asked by `control.rollouts.follow`, `stands` by whoever shows how the route follows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from gateway.contract.alias import UNANSWERED, Aliases, Answer, Following, follower
from gateway.contract.envelope import Envelope
from gateway.contract.rollout import Rollout
from gateway.contract.route import Follow, Route
from gateway.core.rollouts.rollout_route import share_of
from gateway.core.slots import cut_over


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is to be done."""


@dataclass(frozen=True, slots=True)
class Note:
    """Only say how the route stands."""

    answer: Answer
    sentence: str
    rollout_id: str | None = None


@dataclass(frozen=True, slots=True)
class Supersede:
    """End the rollout that an earlier move began, then look again. `keep_route`: somebody changed the route
    since, and that change is not taken back."""

    keep_route: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class StartRollout:
    plan: str
    version: str


@dataclass(frozen=True, slots=True)
class ChangeRoute:
    route: Route


Decision = Rest | Note | Supersede | StartRollout | ChangeRoute


@dataclass(frozen=True, slots=True)
class Seen:
    """`version`: what the alias names now. `answered`: how its last move was. `has_moved`: it named something
    else since then. Route and rollout as stored, `route_author` of the route's last change."""

    version: str | None
    answered: Following | None
    has_moved: bool
    route: Route
    route_revision: int
    route_author: str
    rollout: Rollout | None


def decide(follow: Follow, seen: Seen) -> Decision:
    if not is_new(follow, seen) and seen.answered is not None and seen.answered.answer not in UNANSWERED:
        return Rest()
    version, rollout = seen.version, seen.rollout
    if version is None:
        return Note(Answer.NAMELESS, f"{follow.alias} names no version: traffic stays as it is")
    if rollout is not None and not rollout.is_over:
        return _beside(rollout, follow, seen)
    if share_of(seen.route, version) >= 100:
        return Note(Answer.ARRIVED, f"{version} answers all requests")
    if follow.plan is not None:
        return StartRollout(follow.plan, version)
    return ChangeRoute(route_to(seen.route, version))


def is_new(follow: Follow, seen: Seen) -> bool:
    return (
        seen.answered is None
        or seen.answered.alias != follow.alias
        or seen.answered.version != seen.version
        or seen.has_moved
    )


def _beside(rollout: Rollout, follow: Follow, seen: Seen) -> Decision:
    """A rollout goes on: it is on the way already, or an earlier move's, or somebody's."""
    goes = f"rollout {rollout.rollout_id} to {rollout.candidate}"
    if rollout.candidate == seen.version:
        return Note(Answer.ROLLING, f"{goes} is on the way", rollout.rollout_id)
    if not rollout.author.startswith(follower("")):
        return Note(Answer.WAITING, f"waits until {goes} by {rollout.author} is over ({rollout.phase.value})")
    is_ours = seen.route_revision == rollout.step_revision or seen.route_author == rollout.route_author
    return Supersede(not is_ours, f"{follow.alias} names {seen.version} now")


def route_to(route: Route, version: str) -> Route:
    """All requests that no rule takes go to this version: the live slot's where there are slots."""
    fields = route.model_dump()
    fields["shadows"] = [shadow for shadow in fields["shadows"] if shadow["version"] != version]
    if route.slots is not None:
        return cut_over(Route.model_validate(fields), to=version)
    return Route.model_validate({**fields, "split": [{"version": version, "weight": 100}]})


def has_moved(answered: Following | None, version: str | None, history: Sequence[Envelope]) -> bool:
    """Did the alias name something else since it was answered, though it names the same again? `history` is
    that of the model's aliases."""
    if answered is None:
        return True
    return any(
        names(entry.doc).get(answered.alias) != version
        for entry in history
        if entry.revision > answered.aliases_revision
    )


def moved_at(alias: str, history: Sequence[Envelope]) -> Envelope | None:
    """The change that made the alias what it is, as far as the history (newest first) reaches."""
    found = None
    for entry in history:
        if found is not None and names(entry.doc).get(alias) != names(found.doc).get(alias):
            break
        found = entry
    return found


def names(document: Mapping[str, object] | None) -> Mapping[str, str]:
    """Alias -> version; nothing where the document cannot be read."""
    try:
        return Aliases.model_validate(document or {}).aliases
    except ValidationError:
        return {}


@dataclass(frozen=True, slots=True)
class Stands:
    """`state` is an `Answer`, or `unseen` (nobody looked since the move), `by_hand` (somebody moved the
    traffic since), `ended` (the rollout did not succeed)."""

    state: str
    sentence: str


def stands(follow: Follow, seen: Seen) -> Stands:
    """How a route follows its alias now, for a person."""
    answered, rollout = seen.answered, seen.rollout
    if answered is None or is_new(follow, seen):
        return Stands("unseen", f"the move of {follow.alias} has not been looked at yet")
    if answered.answer not in (Answer.ROLLING, Answer.ARRIVED):
        return Stands(answered.answer.value, answered.sentence)
    assert answered.version is not None
    is_this = rollout is not None and rollout.rollout_id == answered.rollout_id
    if rollout is not None and is_this and not rollout.is_over:
        return Stands(
            "rolling", f"rollout {rollout.rollout_id} is {rollout.phase.value} {rollout.sentence}".strip()
        )
    if share_of(seen.route, answered.version) >= 100:
        return Stands("arrived", f"{answered.version} answers all requests")
    again = f"the next move of {follow.alias} is followed"
    if rollout is not None and is_this and rollout.phase.value != "succeeded":
        ended = f"rollout {rollout.rollout_id} was {rollout.phase.value.replace('_', ' ')}"
        return Stands("ended", f"{ended}: {rollout.sentence}; {again}")
    return Stands(
        "by_hand",
        f"{seen.route_author} changed the traffic in revision {seen.route_revision} since; {again}",
    )
