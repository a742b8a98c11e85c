"""Which servers the address of a Redis names: one server, or the Sentinels that know where the primary is.

`redis+sentinel://user:password@s1:26379,s2,s3/SERVICE/0?ssl_ca_certs=FILE` names Sentinels; user, password,
database and options are those of the servers behind them. `rediss+sentinel://` speaks TLS to all of them.
Read by the store and by `turnout doctor`; makes no connection.
"""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

SENTINEL_PORT = 26379
_SENTINELS = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}  # scheme -> that of the servers behind


@dataclass(frozen=True, slots=True)
class Sentinels:
    addresses: tuple[tuple[str, int], ...]
    service: str
    server_url: str  # of a server behind them, but for host and port

    @property
    def is_tls(self) -> bool:
        return self.server_url.startswith("rediss:")


def sentinels_in(url: str) -> Sentinels | None:
    """None: the address names a server itself. Raises ValueError: it names Sentinels, but not well."""
    parts = urlsplit(url)
    if parts.scheme not in _SENTINELS:
        return None
    who, at, hosts = parts.netloc.rpartition("@")
    addresses = tuple(map(_address, hosts.split(",")))
    service, _, database = parts.path.removeprefix("/").partition("/")
    if not service:
        raise ValueError(
            "after the Sentinels comes the name of what they watch: redis+sentinel://host:26379/NAME"
        )
    query = f"?{parts.query}" if parts.query else ""
    server_url = f"{_SENTINELS[parts.scheme]}://{who}{at}/{database}{query}"
    return Sentinels(addresses, unquote(service), server_url)


def bare(url: str) -> str:
    """Without user and password, to be shown."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"`{text}` is no Sentinel's host:port")
    return parts.hostname, parts.port or SENTINEL_PORT
