"""What pages show, asked of the control API once for all browsers that look at it.

A page says what it wants to see (a topic) each time it draws; a topic that nobody wanted for some seconds is
asked no more. So the cost for the control API depends on what is looked at, not on by how many.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.console.api import Api, ApiError
from gateway.console.sessions import Session

TICK_S = 0.25
FORGET_S = 6.0  # pages ask every second; one that reconnects does it within three
FIRST_S = 2.0  # how long a page waits for its first data: then it is shown without
AT_ONCE = 4  # requests; more would make operators' own requests wait


@dataclass(slots=True)
class Topic:
    """What was answered last. `error` is what was answered since; `data` stays what was last known."""

    path: str
    params: Mapping[str, Any]
    every_s: float
    session: Session
    data: Any = None
    error: ApiError | None = None
    known_at_s: float = 0.0  # wall clock: when `data` was answered
    serial: int = 0  # counts answers
    wanted_s: float = 0.0
    due_s: float = 0.0
    is_asked: bool = False
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def hurry(self) -> None:
        """Ask again at once: something was changed."""
        self.due_s = 0.0


class Feed:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._topics: dict[tuple[Any, ...], Topic] = {}
        self._running: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()

    def want(
        self, session: Session, path: str, params: Mapping[str, Any] | None = None, *, every_s: float = 1.0
    ) -> Topic:
        """The topic as known now."""
        params = params or {}
        name = (session.key, path, *sorted(params.items()))
        topic = self._topics.get(name)
        if topic is None:
            reader = Session(author="console", key=session.key)
            topic = self._topics[name] = Topic(path, params, every_s, reader)
        topic.wanted_s = time.monotonic()
        topic.every_s = min(topic.every_s, every_s)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="console-feed")
        return topic

    async def first(
        self, session: Session, path: str, params: Mapping[str, Any] | None = None, *, every_s: float = 1.0
    ) -> Topic:
        """The topic with an answer that was asked for just now; an older one if none comes in time."""
        topic = self.want(session, path, params, every_s=every_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_S):
                if topic.is_asked:  # perhaps before what the page must show
                    await topic.answered.wait()
                self._ask_soon(topic)
                await topic.answered.wait()
        return topic

    async def aclose(self) -> None:
        tasks = [*self._asking, *([self._running] if self._running else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._api.aclose()

    async def _run(self) -> None:
        """Until nobody wants anything."""
        while self._topics:
            now_s = time.monotonic()
            for name, topic in list(self._topics.items()):
                if now_s - topic.wanted_s > FORGET_S:
                    del self._topics[name]
                elif now_s >= topic.due_s and len(self._asking) < AT_ONCE:
                    self._ask_soon(topic)
            await asyncio.sleep(TICK_S)

    def _ask_soon(self, topic: Topic) -> None:
        if topic.is_asked:
            return
        topic.is_asked = True
        topic.answered.clear()
        topic.due_s = time.monotonic() + topic.every_s
        task = asyncio.create_task(self._ask(topic), name="console-feed-ask")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, topic: Topic) -> None:
        try:
            topic.data = await self._api.get(topic.session, topic.path, topic.params)
            topic.error = None
            topic.known_at_s = time.time()
        except ApiError as error:
            topic.error = error
            if error.status in (401, 403):
                topic.data = None  # what was seen before may be seen no longer
        finally:
            topic.is_asked = False
        topic.serial += 1
        topic.answered.set()
