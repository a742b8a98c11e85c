"""How workers and supervisors reach Redis: short deadlines, no retries, one sentence for whatever goes wrong.

redis-py's own defaults would stall for close to a minute on a hung server, and repeat writes that were
applied already. Called by `workers.announce`, `workers.supervisor` and `workers.app`.
"""

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.contract.errors import CallerError

# For connecting and for each reply. It outlasts an fsync on a busy disk: a worker that starts, or says that
# it ends, must not take that for a Redis that is away. No prediction waits for it.
TIMEOUT_S = 1.0
AWAY = (exceptions.RedisError, OSError)  # what a call raises when Redis does not do what was asked


def connect(url: str, *, name: str) -> Redis:
    """A client; no connection is made yet."""
    try:
        return Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            client_name="".join(char if "!" <= char <= "~" else "-" for char in name),
            protocol=2,
        )
    except ValueError as error:
        raise CallerError("bad_request", f"{url!r} is not the address of a Redis server: {error}") from None


def reason(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text or type(error).__name__
