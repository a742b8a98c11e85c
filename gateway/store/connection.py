"""How to reach Redis, and what to say when it does not answer.

Every call gives up after `timeout_s` and none is retried: redis-py would repeat a write that was applied
already, and wait close to a minute for a server that hangs. Whoever repeats a call does so knowingly, with
an operation id. Pipelined commands share one connection. A cancelled call costs its connection, so callers
do not wrap calls in timeouts of their own.

All exceptions of the library end here: `answers()` turns them into `UpstreamError("store_away", ...)`.
Called by every module of `gateway.store`, and by the composition root for the client itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.contract.errors import CallerError, UpstreamError

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
    "MOVED": "it is one node of a cluster; give the address of a single server",
    "CLUSTERDOWN": "its cluster is down; bring the cluster back",
    "WRONGTYPE": "a key of Turnout holds another type of value, so somebody else wrote to it; "
    "find it with the TYPE command and restore or delete it. Nothing was written",
}

_SILENT = "no reply in time; it hangs, is overloaded, or the network is cut"

# What the library says when it happened while connecting: it drops the error's first word or kind then.
_WHILE_CONNECTING = {
    "Timeout": "",
    "Authentication required": "NOAUTH",
    "invalid username-password": "WRONGPASS",
    "has no permission": "NOPERM",
}


def connect(url: str, *, name: str, timeout_s: float | None = None, pool_size: int = 8) -> Redis:
    """A client with its own pool; no connection is made yet. `name` is what CLIENT LIST shows.

    A call that finds the whole pool busy waits `timeout_s` (`TIMEOUT_S`) at most. Close it with `aclose()`.
    """
    timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=pool_size,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            client_name="".join(char if "!" <= char <= "~" else "-" for char in name),
            protocol=2,
        )
    except ValueError as error:
        raise CallerError("bad_request", f"This is not the address of a Redis server: {error}") from None
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
            for word in text.replace(":", " ").split()[:4]:
                if word.lstrip("-") in _REPLIES:
                    return f"{_REPLIES[word.lstrip('-')]} ({text})"
            return f"it answered with an error ({text})"
        case _:
            for said, word in _WHILE_CONNECTING.items():
                if said in text:
                    return f"{_REPLIES[word]} ({text})" if word else _SILENT
            return f"{text or type(error).__name__}; start it, or correct the Redis URL"
