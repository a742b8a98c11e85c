"""An admin key made in Redis itself, for when no admin key is left: the one operator command without an API.

The audit names it as what it is. Called by `turnout key recover`.
"""

import asyncio
import time

from gateway.cli.client import author
from gateway.contract.access import Role
from gateway.contract.errors import CallerError
from gateway.control.access.key_changes import KeyWish, create
from gateway.store.connection import connect
from gateway.store.documents import Documents


def recover_admin(redis_url: str, name: str) -> str:
    """The key's secret."""
    try:
        wish = KeyWish(name=name, role=Role.ADMIN, reason="recovery: made in Redis, without the control API")
    except ValueError:
        raise CallerError(
            "bad_request", f"{name!r} is no name for a key: letters, digits and ._@- (64 at most)"
        ) from None

    async def make() -> str:
        redis = connect(redis_url, name="turnout-recover", timeout_s=2.0)
        try:
            now_ms = time.time_ns() // 1_000_000
            made = await create(Documents(redis), wish, author=f"recovery/{author()}", now_ms=now_ms)
        finally:
            await redis.aclose()
        return made.token

    return asyncio.run(make())
