"""How to reach Redis, and what to say when it does not answer.

Every call gives up after `timeout_s` and none is retried: redis-py would repeat a write that was applied
already, and wait close to a minute for a server that hangs. Whoever repeats a call does so knowingly, with
an operation id. Pipelined commands share one connection. A cancelled call costs its connection, so callers
do not wrap calls in timeouts of their own.

All exceptions of the library end here: `answers()` turns them into `UpstreamError("store_away", ...)`.
Called by every module of `gateway.store`, and by the composition root for the client itself.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.contract.errors import CallerError, UpstreamError
from gateway.contract.redis_url import sentinels_in
from gateway.store.sentinel import PrimaryPool

TIMEOUT_S = 0.25  # for connecting and for each reply: Redis answers in under 1 ms, or something is wrong

# What an error reply begins with -> what to tell the operator.
_REPLIES = {
    "READONLY": "it is a read-only replica; give the address of the primary",
    "LOADING": "it is still loading its data; try again in a moment",
    "BUSY": "a script keeps it busy; try again, and look for a foreign script if it stays so",
    "NOAUTH": "it wants a password; put it into the Redis URL (redis://user:password@host:port)",
    "WRONGPASS": "it refuses the user or password of the Redis URL; correct them",
    "NOPERM": "the user of the Redis URL lacks a permission; grant it in Redis' access list (ACL)",
    "OOM": "its memory is full (maxmemory); raise maxmemory or shorten `record.ttl_s`. Nothing was written",
    "MISCONF": "it cannot save to its disk; free space or mend the disk, then look at its log",
    "NOREPLICAS": "too few replicas are connected to it (min-replicas-to-write); bring them back",
    "MASTERDOWN": "it is a replica that lost its primary; give the address of the primary",
    "MOVED": "it is one node of several of a cluster; give the address of a server that is none",
    "CLUSTERDOWN": "its cluster is down, or has nobody for these keys; bring the cluster back",
    "WRONGTYPE": "a key of Turnout holds another type of value, so somebody else wrote to it; "
    "find it with the TYPE command and restore or delete it. Nothing was written",
}

_SILENT = "no reply in time; it hangs, is overloaded, or the network is cut"

# What the library says when it happened while connecting (it drops the error's first word or kind then) ->
# what to tell the operator.
_WHILE_CONNECTING = {
    "Timeout": _SILENT,
    "Authentication required": _REPLIES["NOAUTH"],
    "invalid username-password": _REPLIES["WRONGPASS"],
    "has no permission": _REPLIES["NOPERM"],
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not believed; name the file of its issuer's certificate "
    "in the Redis URL (rediss://host:port?ssl_ca_certs=FILE), and the host as the certificate does",
    "Connection reset by peer": "it hangs up; start it, or correct the Redis URL (with TLS: rediss://)",
    "No master found": "the Sentinels know no living primary of that name; wait for their failover, or "
    "correct the name in the Redis URL",
}
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")  # options of the address that name files


def connect(url: str, *, name: str, timeout_s: float | None = None, pool_size: int = 8) -> Redis:
    """A client with its own pool; no connection is made yet. `name` is what CLIENT LIST shows.

    A call that finds the whole pool busy waits `timeout_s` (`TIMEOUT_S`) at most. Close it with `aclose()`.
    """
    timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
    options: dict[str, Any] = {
        "max_connections": pool_size,
        "timeout": timeout_s,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "".join(char if "!" <= char <= "~" else "-" for char in name),
        "protocol": 2,
    }
    try:
        sentinels = sentinels_in(url)
        if sentinels is None:
            pool = BlockingConnectionPool.from_url(url, **options)
        else:
            server: dict[str, Any] = {**parse_url(sentinels.server_url)}
            server.pop("connection_class", None)
            pool = PrimaryPool(sentinels, server, **options)
        pool.connection_class(
            **pool.connection_kwargs
        )  # it takes each option of the address, or says which not
    except (ValueError, TypeError) as error:
        raise CallerError("bad_request", f"This is not the address of a Redis server: {error}") from None
    for option in _FILES:
        file = pool.connection_kwargs.get(option)
        if file is not None and not os.access(file, os.R_OK):
            raise CallerError("bad_request", f"{option} of the Redis URL: {file} cannot be read")
    return Redis.from_pool(pool)


@contextmanager
def answers() -> Iterator[None]:
    """Around calls of the library: whatever goes wrong with Redis becomes one `UpstreamError`."""
    try:
        yield
    except (exceptions.RedisError, OSError) as error:
        raise UpstreamError("store_away", f"Redis does not answer: {_reason(error)}.") from error


async def ask(redis: Redis, *command: str | bytes | int) -> Any:
    """The reply to one command. Raises `UpstreamError("store_away")`."""
    with answers():
        return await redis.execute_command(*command)  # type: ignore[no-untyped-call]


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    match error:
        case exceptions.BusyLoadingError():
            return _REPLIES["LOADING"]
        case exceptions.ReadOnlyError():
            return _REPLIES["READONLY"]
        case exceptions.OutOfMemoryError():
            return _REPLIES["OOM"]
        case exceptions.NoPermissionError():
            return f"{_REPLIES['NOPERM']} ({text})"
        case exceptions.AuthenticationError():
            return _REPLIES["NOAUTH" if "required" in text else "WRONGPASS"]
        case exceptions.TimeoutError() | TimeoutError():
            return _SILENT
        case exceptions.ResponseError():
            # The library takes the first word away where it has a class for it.
            for word in (error.status_code or "", *text.replace(":", " ").split()[:4]):
                if word.lstrip("-") in _REPLIES:
                    return f"{_REPLIES[word.lstrip('-')]} ({text})"
            return f"it answered with an error ({text})"
        case _:
            for said, told in _WHILE_CONNECTING.items():
                if said in text:
                    return told if told is _SILENT else f"{told} ({text})"
            return f"{text or type(error).__name__}; start it, or correct the Redis URL"
