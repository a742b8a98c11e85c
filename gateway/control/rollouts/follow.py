"""Lets routes follow their aliases, for as long as this process leads: look, decide, act, for each model.

What is done goes through what an operator's change goes through (policy, workers, expected revisions), and
nothing is forced. The answer to a move (`contract.alias.Following`) is written in the commit that acts on it,
under the fencing number of the lease: a process that dies before it did nothing, and the next one begins
anew. A move that something is in the way of is tried again when a document of the model or a policy changes,
and every few seconds, since workers and freezes come and go without one. Called by
`control.rollouts.controller`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import assert_never

from gateway.contract import keys
from gateway.contract.alias import MAX_SENTENCE, UNANSWERED, Answer, Following, follower
from gateway.contract.errors import CallerError, ConflictError, FencedError, TurnoutError
from gateway.contract.pool import Keep
from gateway.contract.rollout import Rollout
from gateway.contract.route import Route
from gateway.control.parts import Parts
from gateway.control.pools.wanted import asked_until_ms, readable_wanted
from gateway.control.pools.wanted import start as start_workers
from gateway.control.rollouts.commands import abort_by_follower, start
from gateway.control.rollouts.followed import Followed, read_followed
from gateway.control.rollouts.templates import Templates
from gateway.control.routing.change import Planned, check, document_of
from gateway.control.routing.stored import read_stored
from gateway.core.follow import ChangeRoute, Note, Rest, StartRollout, Supersede, decide
from gateway.core.rollouts.plans import plan_for
from gateway.store.documents import Change, new_operation_id

log = logging.getLogger(__name__)

AGAIN_S = 5.0  # what is in the way may go without a commit: a freeze ends, a worker gets ready


class Follower:
    """`clock` counts seconds; each round looks at the models that are due, one after another."""

    def __init__(self, parts: Parts, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._clock = clock
        self._due_s: dict[str, float] = {}
        self._round: asyncio.Task[None] | None = None

    def start_round(self, fence: int | None, changed: Iterable[str]) -> None:
        """In the background; `changed` are models of which something changed that may matter."""
        self._due_s.update(dict.fromkeys(changed, 0.0))
        is_running = self._round is not None and not self._round.done()
        due = [model for model, at_s in self._due_s.items() if at_s <= self._clock()]
        if fence is not None and due and not is_running:
            self._round = asyncio.create_task(self._look_at(due, fence), name="routes that follow")

    async def aclose(self) -> None:
        if self._round is not None:
            self._round.cancel()
            await asyncio.gather(self._round, return_exceptions=True)

    async def _look_at(self, models: Iterable[str], fence: int) -> None:
        for model in models:
            del self._due_s[model]
            again_s: float | None = self._clock() + AGAIN_S
            try:
                while (is_done := await self.look(model, fence=fence)) is None:
                    pass
                again_s = None if is_done else again_s
            except FencedError:
                return  # who leads now looks at all of them
            except ConflictError as error:
                again_s = 0.0
                log.info("looks again: %s", error.message, extra={"model": model})
            except TurnoutError as error:
                log.warning("the route follows later: %s", error.message, extra={"model": model})
            except Exception:  # a bug that shows with one route must not stop the others
                log.exception("a look at a route that follows failed", extra={"model": model})
            if again_s is not None:
                self._due_s.setdefault(model, again_s)

    async def look(self, model: str, *, fence: int) -> bool | None:
        """False: the move is not answered yet; None: look again at once."""
        found = await read_followed(self._parts.documents, model)
        if found is None:
            await self._forget(model, fence=fence)
            return True
        match decide(found.follow, found.seen):
            case Rest():
                return True
            case Note(answer, sentence, rollout_id):
                await self._note(found, answer, sentence, rollout_id=rollout_id, fence=fence)
                return answer not in UNANSWERED
            case Supersede() | StartRollout() | ChangeRoute() as act:
                return await self._try(found, act, fence=fence)
            case other:
                assert_never(other)

    async def _try(
        self, found: Followed, act: Supersede | StartRollout | ChangeRoute, *, fence: int
    ) -> bool | None:
        """As `look`; what refuses is noted, with the names of the rules."""
        try:
            match act:
                case Supersede():
                    await self._supersede(found, act, fence=fence)
                    return None
                case StartRollout():
                    await self._start(found, act, fence=fence)
                case ChangeRoute(route):
                    await self._change(found, route, fence=fence)
        except ConflictError:
            raise
        except CallerError as error:
            rules = tuple(error.data.get("rules", ()))
            answer = Answer.REFUSED if rules else Answer.WAITING
            said = "; ".join(error.data.get("refusals", ())) or error.message  # without how to force it
            try:
                await self._ask_for_workers(found, error.data.get("without_workers", ()))
            except ConflictError:
                raise
            except CallerError as nobody:  # somebody wants none of them
                said = nobody.message
            await self._note(found, answer, said, rules=rules, fence=fence)
            return False
        return True

    async def _ask_for_workers(self, found: Followed, lacking: Iterable[Mapping[str, str]]) -> None:
        """Not while somebody's wish for them lasts: so a wish is made once, and again when a move waited
        for so long (for an approval, a freeze) that they have stopped meanwhile."""
        now_ms = (await self._parts.fleet.workers()).now_ms
        until_ms = asked_until_ms(now_ms, keep_warm_s=self._parts.settings.keep_warm_s)
        documents = self._parts.documents
        for item in lacking:
            model, version = item["model"], item["version"]
            wish = readable_wanted(await documents.get(keys.wanted_field(model, version)))
            lasts = wish is not None and (wish.keep is Keep.ALWAYS or wish.asked_until_ms > now_ms)
            if wish is None or not wish.workers or not lasts:
                await start_workers(
                    documents, model, version, until_ms=until_ms, author=follower(found.follow.alias)
                )

    async def _supersede(self, found: Followed, act: Supersede, *, fence: int) -> None:
        await abort_by_follower(
            self._parts,
            found.stored.model,
            author=follower(found.follow.alias),
            reason=act.sentence,
            keep_route=act.keep_route,
            fence=fence,
        )

    async def _start(self, found: Followed, act: StartRollout, *, fence: int) -> None:
        template = Templates(self._parts.settings.plans_dir).plan(act.plan)
        model = found.stored.model

        def answered(rollout: Rollout) -> list[Change]:
            sentence = f"rollout {rollout.rollout_id} to {act.version} by plan {act.plan} began"
            return [_answer(found, Answer.ROLLING, sentence, rollout_id=rollout.rollout_id)]

        await start(
            self._parts,
            model,
            plan_for(template, model=model, candidate=act.version),
            author=follower(found.follow.alias),
            reason=_why(found),
            dry_run=False,
            beside=answered,
            fence=fence,
        )
        log.info("a rollout began: %s", _why(found), extra={"model": model})

    async def _change(self, found: Followed, route: Route, *, fence: int) -> None:
        planned = Planned(found.stored, route)
        await check(self._parts, [planned], force=False)
        field = keys.route_field(route.model)
        changes = [
            Change(field, document_of(route), expected_revision=found.stored.revision),
            _answer(found, Answer.ARRIVED, f"all requests went to {found.seen.version} at once"),
        ]
        await self._commit(found, changes, _why(found), fence=fence)

    async def _note(
        self,
        found: Followed,
        answer: Answer,
        sentence: str,
        *,
        rules: tuple[str, ...] = (),
        rollout_id: str | None = None,
        fence: int,
    ) -> None:
        """A commit of its own, so that it is in the audit and among the events; none if it says the same."""
        change = _answer(found, answer, sentence, rules=rules, rollout_id=rollout_id)
        before = found.seen.answered
        said = None if before is None else before.model_dump(mode="json", exclude={"aliases_revision"})
        assert change.doc is not None
        if found.seen.has_moved or said != {k: v for k, v in change.doc.items() if k != "aliases_revision"}:
            await self._commit(found, [change], f"{answer.value}: {sentence}", fence=fence)
            log.info("%s: %s", answer.value, sentence, extra={"model": found.stored.model})

    async def _commit(self, found: Followed, changes: list[Change], reason: str, *, fence: int) -> None:
        await self._parts.documents.commit(
            changes,
            author=follower(found.follow.alias),
            reason=reason[:512],
            op_id=new_operation_id(),
            fence=fence,
        )

    async def _forget(self, model: str, *, fence: int) -> None:
        """A route that follows no more has answered nothing: to follow again begins anew. One that cannot be
        read may follow still."""
        stored = await read_stored(self._parts.documents, model)
        if stored.exists and stored.route is None:
            return
        envelope = await self._parts.documents.get(keys.following_field(model))
        if envelope is not None:
            await self._parts.documents.commit(
                [Change(envelope.field, None, expected_revision=envelope.revision or None)],
                author="alias",
                reason=f"the route of {model} follows no alias any more",
                op_id=new_operation_id(),
                fence=fence,
            )


def _answer(
    found: Followed,
    answer: Answer,
    sentence: str,
    *,
    rules: tuple[str, ...] = (),
    rollout_id: str | None = None,
) -> Change:
    following = Following(
        alias=found.follow.alias,
        version=found.seen.version,
        aliases_revision=found.aliases_revision,
        answer=answer,
        sentence=sentence[:MAX_SENTENCE],
        rules=rules,
        rollout_id=rollout_id,
    )
    return Change(
        keys.following_field(found.stored.model),
        following.model_dump(mode="json"),
        expected_revision=found.following_revision,
    )


def _why(found: Followed) -> str:
    """Who moved the alias, and what he said."""
    moved = found.moved
    by = "" if moved is None else f" (revision {moved.revision}, by {moved.author}: {moved.reason})"
    return f"{found.follow.alias} names {found.seen.version}{by}"[:512]
