"""Where the console hangs on the control API's application, and when it is loaded.

NiceGUI takes about a second to load and some 30 MB of memory, so it is loaded when the first browser comes:
the control process starts as fast as without it, and who never opens the console does not pay for it. What
answers under `/api/v1` is not touched. Called by `turnout control`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.console.api import Api
from gateway.console.door import Door
from gateway.console.login import Login
from gateway.console.sessions import Sessions

PATH = "/console"


def mount(app: FastAPI, *, control_url: str, hosts: Iterable[str]) -> None:
    """`control_url` is where this process answers, without a path; `hosts` the names browsers may use."""
    console, api, sessions = LazyConsole(control_url), Api(control_url), Sessions()
    login = Login(console, root=PATH, api=api, sessions=sessions)
    app.add_api_route("/", _to_console, methods=["GET"], include_in_schema=False)
    app.add_api_route(PATH, _to_console, methods=["GET"], include_in_schema=False)
    app.mount(PATH, Door(login, hosts=hosts, sessions=sessions))
    whole_life = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(started: FastAPI) -> AsyncIterator[None]:
        async with whole_life(started):
            yield
            await console.aclose()
            await api.aclose()

    app.router.lifespan_context = lifespan


async def _to_console() -> RedirectResponse:
    return RedirectResponse(f"{PATH}/")


class LazyConsole:
    """An ASGI application that is built at its first request."""

    def __init__(self, control_url: str) -> None:
        self._control_url = control_url
        self._app: ASGIApp | None = None
        self._building = asyncio.Lock()
        self._life = AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._building:
            if self._app is None:
                self._app = await self._build()
        await self._app(scope, receive, send)

    async def aclose(self) -> None:
        await self._life.aclose()

    async def _build(self) -> ASGIApp:
        await asyncio.to_thread(_load)
        from gateway.console.site import build_site

        shell, feed = build_site(self._control_url)
        self._life.push_async_callback(feed.aclose)
        await self._life.enter_async_context(shell.router.lifespan_context(shell))
        return shell


def _load() -> None:
    import gateway.console.site  # noqa: F401 - the slow part, away from the event loop
