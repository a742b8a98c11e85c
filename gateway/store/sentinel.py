"""Connections to the primary that Sentinels name: each new one asks them anew, so a failover is followed.

A connection that is lost, or whose server says that it is a replica by now, ends; so does every idle one as
soon as the Sentinels name another primary. Called by `connection`.
"""

from typing import Any

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

from gateway.contract.redis_url import Sentinels


class PrimaryPool(SentinelConnectionPool, BlockingConnectionPool):
    """A blocking pool, which owns its connections to the Sentinels, too."""

    def __init__(self, sentinels: Sentinels, server: dict[str, Any], **options: Any) -> None:
        of_sentinels = {
            name: value
            for name, value in (server | options).items()
            if name.startswith(("socket_", "ssl_")) or name in ("retry", "protocol", "client_name")
        }
        watching = Sentinel(sentinels.addresses, sentinel_kwargs={**of_sentinels, "ssl": sentinels.is_tls})  # type: ignore[no-untyped-call]
        super().__init__(sentinels.service, watching, ssl=sentinels.is_tls, **server, **options)  # type: ignore[no-untyped-call]

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """All of them, and those to the Sentinels; or the idle ones, after a failover."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await self.sentinel_manager.aclose()
