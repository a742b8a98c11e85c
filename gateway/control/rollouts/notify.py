"""Tells a plan's webhooks of every event of its rollout, signed, in the order of the commits.

How far they were told is kept in Redis, so that a restart repeats at most one event and loses none while
Redis keeps the history. An address that does not answer is tried a few times and then left out: it must not
hold up the others, and the rollout itself never waits for any. Called by `control.rollouts.controller`.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import time
from typing import Any

from pydantic import ValidationError

from gateway.contract.envelope import Envelope
from gateway.contract.errors import TurnoutError
from gateway.contract.rollout import Rollout
from gateway.control.rollouts.live import PREFIX
from gateway.control.rollouts.outside import Outside, OutsideError
from gateway.store.documents import Documents
from gateway.store.lease import Leases

log = logging.getLogger(__name__)

ATTEMPTS = 3
CHANGES_AT_ONCE = 50  # of one rollout
SIGNATURE = "turnout-signature"  # sha256=<hex HMAC of "<turnout-time>.<body>">
TIME = "turnout-time"


class Notifier:
    def __init__(self, documents: Documents, leases: Leases, outside: Outside, *, secret: str) -> None:
        self._documents = documents
        self._leases = leases
        self._outside = outside
        self._secret = secret.encode()
        self._round: asyncio.Task[None] | None = None

    def start_round(self, fence: int | None) -> None:
        """Tells what is new, in the background, unless that is going on."""
        if fence is not None and self._secret and (self._round is None or self._round.done()):
            self._round = asyncio.create_task(self._tell_new(fence), name="rollout webhooks")

    async def aclose(self) -> None:
        if self._round is not None:
            self._round.cancel()
            await asyncio.gather(self._round, return_exceptions=True)

    async def _tell_new(self, fence: int) -> None:
        try:
            told = await self._leases.notified()
            newest = await self._documents.revision()
            if told is None or told > newest:
                await self._leases.note_notified(newest, fence=fence)
                return
            page = await self._documents.page(told)
            news = [item for field in page.changed for item in await self._news(field, told, page.upto)]
            for envelope in sorted(news, key=lambda envelope: envelope.revision):
                await self._tell(envelope)
                await self._leases.note_notified(envelope.revision, fence=fence)
            if page.upto > told:
                await self._leases.note_notified(page.upto, fence=fence)
        except TurnoutError as error:
            log.info("webhooks are told later: %s", error.message)

    async def _news(self, field: str, told: int, upto: int) -> list[Envelope]:
        if not field.startswith(PREFIX):
            return []
        history = await self._documents.history(field, limit=CHANGES_AT_ONCE)
        return [envelope for envelope in history if told < envelope.revision <= upto]

    async def _tell(self, envelope: Envelope) -> None:
        try:
            rollout = Rollout.model_validate(envelope.doc)
        except ValidationError:
            return
        if rollout.events:
            body = json.dumps(event_body(rollout, envelope.revision)).encode()
            await asyncio.gather(*(self._send(url, body) for url in rollout.plan.webhooks))

    async def _send(self, url: str, body: bytes) -> None:
        for attempt in range(ATTEMPTS):
            try:
                await self._outside.post(url, body, signed(body, self._secret, at_s=int(time.time())))
                return
            except OutsideError as error:
                log.warning("a webhook was not told (attempt %d): %s", attempt + 1, error, extra={"url": url})


def event_body(rollout: Rollout, revision: int) -> dict[str, Any]:
    return {
        "rollout_id": rollout.rollout_id,
        "model": rollout.model,
        "baseline": rollout.baseline,
        "candidate": rollout.candidate,
        "phase": rollout.phase,
        "revision": revision,
        "event": rollout.events[-1].model_dump(mode="json"),
    }


def signed(body: bytes, secret: bytes, *, at_s: int) -> dict[str, str]:
    """The headers: who receives it computes the same and refuses what is old."""
    digest = hmac.new(secret, b"%d.%b" % (at_s, body), hashlib.sha256).hexdigest()
    return {"content-type": "application/json", TIME: str(at_s), SIGNATURE: f"sha256={digest}"}
