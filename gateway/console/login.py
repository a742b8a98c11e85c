"""Logging in and out by way of a browser: from the console to the provider, and back with a session.

The browser comes back from another site, where it may not send the console's own cookie, so a login has a
cookie of its own, which it may send, for this path and ten minutes. What is in it binds the login to this
browser: a link that somebody else has begun ends here. Whoever is logged in gets a new session, never one
that was there before, and a page that goes on by itself, since a redirect would still count as the other
site's. Speaks only the control API. Stands inside the `Door` of the console, in front of its pages.
"""

import html
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.console.api import Api, ApiError
from gateway.console.sessions import Session, Sessions, is_over_https, session_cookie

COOKIE = "turnout_login"
PATH = "/login"
BACK = "/login/back"
OUT = "/login/out"
KEPT_S = 600
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Turnout</title>{head}</head>
<body><main><h1>{title}</h1><p>{words}</p><p><a href="{to}">{link}</a></p></main></body></html>"""


class Login:
    """`root`: where the console is mounted."""

    def __init__(self, app: ASGIApp, *, root: str, api: Api, sessions: Sessions) -> None:
        self._app = app
        self._root = root
        self._api = api
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope["path"]).removeprefix(self._root)
        steps = {PATH: self._begin, BACK: self._finish, OUT: self._end}
        if scope["type"] != "http" or path not in steps:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if request.method == "GET":
            response = await steps[path](request)
        else:
            response = Response(status_code=405)
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)

    async def _begin(self, request: Request) -> Response:
        binding = secrets.token_urlsafe(32)
        try:
            found = await self._api.post(Session(), PATH, {"binding": binding})
        except ApiError as error:
            return self._page("You cannot log in now", error.message, error.status)
        response = RedirectResponse(found["url"], 302)
        self._set_cookie(request, response, binding, max_age=KEPT_S)
        return response

    async def _finish(self, request: Request) -> Response:
        said = parse_qs(request.url.query, max_num_fields=20)
        if "code" not in said or "state" not in said:
            why = said.get("error_description", said.get("error", ["it said nothing"]))[0]
            return self._page("You are not logged in", f"The provider refused: {why[:256]}", 403)
        body = {"code": said["code"][0], "state": said["state"][0], "binding": _binding_in(request)}
        try:
            found = await self._api.post(Session(), "/login/finish", body)
        except ApiError as error:
            words = error.message if error.status != 422 else "this login did not begin in this browser"
            return self._page("You are not logged in", words, error.status)
        self._sessions.close(request.scope["headers"])
        name, session = self._sessions.open()
        session.author, session.key, session.is_login = found["name"], found["session"], True
        session.named, session.role = found["name"], found["role"]
        response = self._page("You are logged in", f"as {found['name']} ({found['role']})", 200, goes_on=True)
        response.headers.append("set-cookie", session_cookie(request.scope, name).decode())
        self._set_cookie(request, response, "", max_age=0)
        return response

    async def _end(self, request: Request) -> Response:
        session = self._sessions.find(request.scope["headers"])
        if session is not None and session.is_login:
            try:
                await self._api.delete(session, PATH)
            except ApiError as error:
                if not error.wants_key:  # it has ended already
                    return self._page("You are still logged in", error.message, error.status)
        self._sessions.close(request.scope["headers"])
        return self._page("You are logged out", "here; at your provider you may still be logged in.", 200)

    def _page(self, title: str, words: str, status: int, *, goes_on: bool = False) -> HTMLResponse:
        to = f"{self._root}/"
        head = f'<meta http-equiv="refresh" content="0;url={to}">' if goes_on else ""
        page = _PAGE.format(
            head=head, title=html.escape(title), words=html.escape(words), to=to, link="To the console"
        )
        return HTMLResponse(page, status or 502)

    def _set_cookie(self, request: Request, response: Response, value: str, *, max_age: int) -> None:
        response.set_cookie(
            COOKIE, value, max_age=max_age, path=f"{self._root}{PATH}", httponly=True, samesite="lax",
            secure=is_over_https(request.scope["headers"]),
        )  # fmt: skip


def _binding_in(request: Request) -> str:
    try:
        cookie = SimpleCookie(request.headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookie[COOKIE].value if COOKIE in cookie else ""
