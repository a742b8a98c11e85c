"""May this process listen where others can reach it? Only if requests will need a key.

`auto` is looked up once, at the start: is there an admin key? Such a process then stays closed for good, so
that no change of documents, and no Redis that lost its data, can open it. Called by the commands that listen.
"""

import asyncio
from dataclasses import replace

import orjson

from gateway.contract import keys
from gateway.contract.access import LOOPBACK_HOSTS, AccessSettings
from gateway.contract.errors import CallerError, UpstreamError
from gateway.store.connection import ask, connect

LOOK_S = 2.0


def closed_access(
    access: AccessSettings, *, host: str, redis_url: str, allow_open: bool, was_closed: bool = False
) -> AccessSettings:
    """How to serve at `host`. Raises CallerError("refused") where it would be open to others.

    `was_closed`: what is remembered on disk says that there is an admin key, should Redis be away.
    """
    if host in LOOPBACK_HOSTS or access.required == "on":
        return access
    if access.required == "auto":
        try:
            has_admin = asyncio.run(_has_admin(redis_url))
        except UpstreamError as error:
            has_admin = was_closed
            if not (has_admin or allow_open):
                raise _refusal(
                    host, f"whether there is an admin key cannot be told ({error.message})"
                ) from None
        if has_admin:
            return replace(access, required="on")
        reason = "there is no admin key (`turnout key create NAME --role admin`, over loopback)"
    else:
        reason = "access.required is off"
    if allow_open:
        return access
    raise _refusal(host, reason)


def _refusal(host: str, reason: str) -> CallerError:
    return CallerError(
        "refused",
        f"{host} can be reached from elsewhere, and nobody would have to say who they are: {reason}. Make an "
        "admin key, or set access.required: on, or listen on 127.0.0.1 behind a proxy that authenticates, or "
        "add --allow-unauthenticated (--insecure-no-auth).",
    )


async def _has_admin(redis_url: str) -> bool:
    redis = connect(redis_url, name="turnout-start", timeout_s=LOOK_S)
    try:
        raw = await ask(redis, "HGET", keys.DOCUMENTS, keys.ACCESS_FIELD)
    finally:
        await redis.aclose()
    if raw is None:
        return False
    try:
        return bool(orjson.loads(raw)["doc"]["admins"] > 0)
    except (ValueError, TypeError, KeyError):
        return True  # edited into nonsense: closed is the safe reading
