"""Performs what `core.rollouts.rollout.decide` said: one commit, or a note of the progress.

The route and the rollout change in the same commit, each from the revision that was looked at, under the
fencing number of the lease. Whatever goes wrong, nothing is half done and the next look begins anew.
Called by `control.rollouts.controller`.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.contract import keys
from gateway.contract.rollout import Phase, Progress, Rollout
from gateway.contract.route import Counting, Route
from gateway.control.registry.versions import added_versions
from gateway.control.routing.change import document_of
from gateway.core.rollouts.seen import Seen
from gateway.store.documents import Change, Committed, Documents
from gateway.store.lease import Leases


@dataclass(frozen=True, slots=True)
class Actor:
    documents: Documents
    leases: Leases
    fence: int

    async def commit(self, rollout: Rollout, route: Route | None, *, seen: Seen, revision: int) -> Committed:
        """`revision` is that of the rollout's document as it was looked at."""
        return await commit_transition(
            self.documents,
            rollout,
            route,
            revision=revision,
            present=seen.route,
            route_revision=seen.route_revision,
            author=rollout.route_author,
            fence=self.fence,
        )

    async def note(self, progress: Progress, *, seen: Seen, rollout: Rollout) -> None:
        """With the marks that were made while looking."""
        marks = {"rollout_mark": seen.progress.rollout_mark, "step_mark": seen.progress.step_mark}
        await self.leases.note(rollout.model, progress.model_copy(update=marks), fence=self.fence)


async def commit_transition(
    documents: Documents,
    rollout: Rollout,
    route: Route | None,
    *,
    revision: int,
    present: Route | None,
    route_revision: int,
    author: str,
    fence: int | None = None,
    is_new: bool = False,
    beside: Sequence[Change] = (),
) -> Committed:
    """The rollout, where it changes the route, and what is to be beside: together, from these revisions, or
    not at all. Versions that are new to them must still be registered."""
    is_return = route is not None and rollout.phase in (Phase.ROLLED_BACK, Phase.ABORTED)
    rollout, route = counting(rollout, route, present=present)
    changes = [Change(keys.rollout_field(rollout.model), rollout_document(rollout), revision)]
    if route is not None:
        field = keys.route_field(rollout.model)
        changes.append(Change(field, document_of(route), route_revision, is_return=is_return))
    changes += beside
    reason = rollout.events[-1].sentence if rollout.events else rollout.sentence
    requires: dict[str, int | None] = dict.fromkeys(added_versions(route, before=present))
    if is_new:
        requires[keys.version_field(rollout.model, rollout.candidate)] = None
    return await documents.commit(
        changes,
        author=author,
        reason=reason[:512],
        op_id=uuid.uuid4().hex,
        fence=fence,
        requires=requires,
    )


def counting(rollout: Rollout, route: Route | None, *, present: Route | None) -> tuple[Rollout, Route | None]:
    """Has gateways note the candidate's units as long as the rollout lasts, where the route knows units."""
    if route is not None:
        wanted = None
        if not rollout.is_over and route.sticky is not None:
            wanted = Counting(rollout_id=rollout.rollout_id, version=rollout.candidate)
        return rollout, route.model_copy(update={"counting": wanted})
    counted = None if present is None else present.counting
    is_ours = counted is not None and counted.rollout_id == rollout.rollout_id
    if present is not None and is_ours and rollout.is_over:
        ended = present.model_copy(update={"counting": None})
        return rollout.model_copy(update={"step_revision": None}), ended
    return rollout, None


def rollout_document(rollout: Rollout) -> dict[str, object]:
    return rollout.model_dump(mode="json", exclude_none=True)
