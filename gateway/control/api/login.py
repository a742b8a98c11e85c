"""HTTP: people log in by OpenID Connect. The console calls this; a key of its own nobody needs for it.

`begin` gives the provider's address, `finish` takes what the browser brought back and gives a session, whose
token stands where a key does. Programs use keys.
"""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from gateway.contract.errors import CallerError
from gateway.contract.route import Document
from gateway.control.access.caller import Caller
from gateway.control.body import StrictRoute
from gateway.control.parts import Control, Parts

router = APIRouter(tags=["login"], route_class=StrictRoute)

Binding = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{32,128}$")]


class Begin(Document):
    """`binding`: a random text that only this browser has."""

    binding: Binding


class Finish(Document):
    binding: Binding
    state: Annotated[str, Field(min_length=1, max_length=256)]
    code: Annotated[str, Field(min_length=1, max_length=4096)]


@router.get("/login")
async def how_to_log_in(control: Control) -> dict[str, Any]:
    """Can people log in here, and where?"""
    issuer = control.settings.oidc.issuer
    return {"possible": bool(issuer), "issuer": issuer}


@router.post("/login")
async def begin(wish: Begin, control: Control) -> dict[str, Any]:
    """`url`: where to send the browser."""
    _refuse_without_issuer(control)
    state, login = control.people.begin(wish.binding, now_s=time.monotonic())
    return {"url": await control.issuer.authorization_url(state, login)}


@router.post("/login/finish")
async def finish(wish: Finish, control: Control) -> dict[str, Any]:
    """`session` is the token: it is given this once."""
    _refuse_without_issuer(control)
    login = control.people.take(wish.state, wish.binding, now_s=time.monotonic())
    claims = await control.issuer.claims(wish.code, login)
    token, person = control.people.admit(claims, now_s=time.monotonic())
    return {
        "session": token,
        "name": person.name,
        "role": person.role,
        "expires_in_s": control.settings.oidc.session_s,
    }


@router.delete("/login")
async def log_out(request: Request, control: Control, caller: Caller) -> dict[str, Any]:
    """Ends the session that asks; at the provider one stays logged in."""
    token = request.headers.get("authorization", "").partition(" ")[2].strip()
    return {"name": caller.name, "ended": control.people.forget(token)}


def _refuse_without_issuer(control: Parts) -> None:
    if not control.settings.oidc.issuer:
        raise CallerError("not_found", "nobody can log in here: control.oidc.issuer is not set; use a key")
