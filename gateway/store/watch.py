"""The hint channel: says that something changed, so that a poll may happen now instead of within a second.

Messages may be lost without a sign (a killed connection, a full buffer, a cut network), so a hint is never
the truth. Two guards find a dead link, because redis-py reports neither case:
- a heartbeat goes round through Redis; `SILENCE_S` without any message means that the link is deaf;
- on a connection that the kernel gave up, `get_message` returns None at once, for ever, and never yields to
  the event loop: some of those in a row end the connection, and each None yields.
Called by gateways and supervisors; needs a connection of its own, hence the URL instead of a client.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from gateway.contract import keys
from gateway.contract.errors import UpstreamError
from gateway.store.connection import answers, ask, connect

HEARTBEAT_S = 1.0
SILENCE_S = 3.0
WAIT_S = 0.5  # for one message
EARLY_S = 0.25  # a None sooner than this did not wait for a message
EARLY_LIMIT = 3  # in a row; a single one is normal after (un)subscribing
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
RESUMED = b"resumed"  # told after each (re-)subscription: messages may have been missed

_log = logging.getLogger(__name__)


class Watch:
    """Calls `on_message` with each message of `keys.CHANGES` (not the heartbeat), and with `RESUMED`."""

    def __init__(self, url: str, on_message: Callable[[bytes], None], *, name: str = "watch") -> None:
        self._url = url
        self._on_message = on_message
        self._name = name
        self.is_listening = False
        self.subscriptions = 0  # how often it subscribed: more than 1 means that a link was lost
        self.reads = 0  # how often it asked for a message

    async def run(self) -> None:
        """Listens until cancelled, whatever happens to Redis."""
        pause_s = FIRST_PAUSE_S
        while True:
            before = self.subscriptions
            try:
                await self._listen()
            except UpstreamError as error:
                _log.warning("watching %s was interrupted: %s", keys.CHANGES, error.message)
            finally:
                self.is_listening = False
            pause_s = FIRST_PAUSE_S if self.subscriptions > before else min(2 * pause_s, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))

    async def _listen(self) -> None:
        """One connection's life: returns when the link looks dead."""
        redis = connect(self._url, name=self._name, pool_size=2)
        channel = redis.pubsub()
        try:
            with answers():
                await channel.subscribe(keys.CHANGES)
            await self._read(redis, channel)
        finally:
            with suppress(UpstreamError), answers():
                await channel.aclose()  # type: ignore[no-untyped-call]
                await redis.aclose()

    async def _read(self, redis: Redis, channel: PubSub) -> None:
        heard_s = beat_s = now_s = time.monotonic()
        early = 0
        while early <= EARLY_LIMIT and now_s - heard_s < SILENCE_S:
            if now_s - max(heard_s, beat_s) >= HEARTBEAT_S:
                beat_s = now_s
                await _beat(redis)
            self.reads += 1
            asked_s = time.monotonic()
            with answers():
                message = await channel.get_message(timeout=WAIT_S)
            now_s = time.monotonic()
            if message is not None:
                early, heard_s = 0, now_s
                self._take(message["type"], message["data"])
            else:
                early = early + 1 if now_s - asked_s < EARLY_S else 0
            await asyncio.sleep(0)  # an answer that was there already did not yield
        _log.warning("the link to %s is dead; subscribing again", keys.CHANGES)

    def _take(self, kind: str, data: bytes) -> None:
        if kind == "subscribe":
            self.is_listening = True
            self.subscriptions += 1
            self._on_message(RESUMED)
        elif kind == "message" and not data.startswith(b"tick "):
            self._on_message(data)


async def _beat(redis: Redis) -> None:
    """Everybody hears it, so processes on one channel share one beat a second. A failure shows as silence."""
    with suppress(UpstreamError):
        await ask(redis, "PUBLISH", keys.CHANGES, f"tick {time.time_ns() // 1_000_000}")
