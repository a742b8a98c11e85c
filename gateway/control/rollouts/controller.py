"""The loop that moves rollouts on: look, decide, act, for each of them, while this process leads. So do
routes that follow an alias (`follow`).

Everything that counts is in Redis, so this process may die at any statement and another one goes on. Each
rollout is looked at by its own task, so that one whose workers or documents are bad keeps no other waiting;
an error of one is logged and looked at anew. Owned by the control process (`control.app`).
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.contract.errors import ConflictError, FencedError, TurnoutError, UpstreamError
from gateway.control.rollouts.act import Actor
from gateway.control.rollouts.check import CandidateCheck
from gateway.control.rollouts.external import External
from gateway.control.rollouts.follow import Follower
from gateway.control.rollouts.found import find_rollout
from gateway.control.rollouts.live import LiveRollouts
from gateway.control.rollouts.notify import Notifier
from gateway.control.rollouts.observe import Observer
from gateway.core.rollouts.rollout import CheckCandidate, Commit, Stay, decide
from gateway.store.documents import Documents
from gateway.store.lease import Leases

log = logging.getLogger(__name__)

LEASE_S = 5.0
RENEW_S = 1.0
SAID_AGAIN_S = 30.0  # an error that stays is logged no more often than this


def holder_name() -> str:
    """Another one for each start, so that a dead process' lease is not continued."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"


@dataclass(slots=True)
class Controller:
    documents: Documents
    leases: Leases
    observer: Observer
    check: CandidateCheck
    external: External
    follower: Follower
    notifier: Notifier
    tick_s: float
    holder: str = field(default_factory=holder_name)
    clock: Callable[[], float] = time.monotonic
    fence: int | None = None  # while this process leads, as far as it knows
    _renew_at_s: float = 0.0
    _live: LiveRollouts = field(init=False)
    _looks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _said: dict[str, tuple[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._live = LiveRollouts(self.documents)

    async def run(self) -> None:
        """Until it is cancelled; gives the lease up then."""
        try:
            while True:
                began_s = self.clock()
                await self.tick()
                await asyncio.sleep(max(0.0, self.tick_s - (self.clock() - began_s)))
        finally:
            await self._end()

    async def tick(self) -> None:
        """Leads if it can, and starts a look at every rollout that is not being looked at."""
        try:
            if await self._leads():
                for model in await self._models():
                    self._start_look(model)
                self.follower.start_round(self.fence, self._live.changed())
                self.notifier.start_round(self.fence)
        except FencedError as error:
            self._lose(error.message)
        except UpstreamError as error:
            self._say("", f"the rollouts wait: {error.message}")
        except Exception:  # the outermost loop: whatever it was, the next tick comes
            log.exception("a tick of the rollout controller failed")

    async def _leads(self) -> bool:
        if self.clock() < self._renew_at_s:
            return self.fence is not None
        found = await self.leases.take(self.holder, lasts_s=LEASE_S)
        self._renew_at_s = self.clock() + RENEW_S
        if not found.is_mine:
            if self.fence is not None:
                self._lose(f"{found.holder} leads now")
            return False
        if self.fence != found.fence:
            self.observer.forget()
            self._live.look_at_all()
            log.info("leads the rollouts", extra={"holder": self.holder, "fence": found.fence})
        self.fence = found.fence
        return True

    def _lose(self, why: str) -> None:
        self.fence = None
        self._renew_at_s = self.clock() + RENEW_S
        self.observer.forget()
        log.warning("does not lead the rollouts any more: %s", why)

    async def _models(self) -> list[str]:
        models = await self._live.models()
        self.observer.forget(but=models)
        self.external.forget(but=models)
        return models

    def _start_look(self, model: str) -> None:
        running = self._looks.get(model)
        if running is None or running.done():
            assert self.fence is not None
            actor = Actor(self.documents, self.leases, self.fence)
            self._looks[model] = asyncio.create_task(self._look(model, actor), name=f"rollout {model}")

    async def _look(self, model: str, actor: Actor) -> None:
        """One look at one rollout; never raises, but is cancelled with the controller."""
        try:
            while await self.step(model, actor):
                pass
            self._said.pop(model, None)
        except FencedError as error:
            if self.fence == actor.fence:
                self._lose(error.message)
        except ConflictError as error:
            log.info("looks again: %s", error.message, extra={"model": model})
        except TurnoutError as error:
            self._say(model, error.message)
        except Exception:  # a bug that shows with one rollout must not stop the others
            log.exception("a look at a rollout failed", extra={"model": model})

    async def step(self, model: str, actor: Actor) -> bool:
        """Look, decide, act. True where there is more to do at once."""
        found = await find_rollout(self.documents, model)
        if found is None or found.rollout.is_over:
            return False
        rollout = found.rollout
        seen = await self.observer.see(rollout, external=self.external.newest(rollout))
        self.external.evidence[model] = seen.evidence
        match decide(rollout, seen):
            case Stay(progress):
                await actor.note(progress, seen=seen, rollout=rollout)
                return False
            case Commit(changed, route):
                await actor.commit(changed, route, seen=seen, revision=found.revision)
                said = changed.events[-1].sentence if changed.events else changed.sentence
                log.info(said, extra={"model": model, "rollout_id": rollout.rollout_id})
                return False
            case CheckCandidate(progress):
                await actor.note(progress, seen=seen, rollout=rollout)
                checked = await self.check.run(rollout, seen.route)
                self.observer.memory_of(rollout).check = (rollout.step, checked)
                return True

    def _say(self, model: str, sentence: str) -> None:
        said, at_s = self._said.get(model, ("", 0.0))
        if said != sentence or self.clock() > at_s + SAID_AGAIN_S:
            self._said[model] = (sentence, self.clock())
            log.warning(sentence, extra={"model": model})

    async def _end(self) -> None:
        looks = [task for task in self._looks.values() if not task.done()]
        for task in looks:
            task.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
        await self.external.aclose()
        await self.follower.aclose()
        await self.notifier.aclose()
        if self.fence is not None:
            try:
                await self.leases.give_up(self.holder)
            except UpstreamError:
                log.info("Redis is away: the lease ends by itself")
