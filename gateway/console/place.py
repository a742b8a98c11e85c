"""What every page works with: the API for what an operator does, the feed for what a page shows."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from gateway.console.api import Api
from gateway.console.door import SESSION
from gateway.console.feed import Feed, Topic
from gateway.console.sessions import Session


@dataclass(frozen=True, slots=True)
class Place:
    api: Api
    feed: Feed


def session_of_page() -> Session:
    """Of the browser whose page is being built or used."""
    found = ui.context.client.request.scope.get(SESSION)
    return found if isinstance(found, Session) else Session()


@dataclass(slots=True)
class Watch:
    """One page's view of the feed: what it asks for, in its own session."""

    place: Place
    session: Session

    def want(self, path: str, *, every_s: float = 1.0, **params: Any) -> Topic:
        return self.place.feed.want(self.session, path, params, every_s=every_s)

    async def first(self, path: str, *, every_s: float = 1.0, **params: Any) -> Topic:
        return await self.place.feed.first(self.session, path, params, every_s=every_s)

    async def first_of(self, every_s: Mapping[str, float]) -> None:
        """All of these paths, asked at once."""
        await asyncio.gather(*(self.first(path, every_s=often) for path, often in every_s.items()))

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        return await self.place.api.post(self.session, path, body)

    async def put(self, path: str, body: dict[str, Any]) -> Any:
        return await self.place.api.put(self.session, path, body)

    async def get(self, path: str, **params: Any) -> Any:
        return await self.place.api.get(self.session, path, params)
