"""What sources that are HTTP servers have in common: bounded answers, no redirects, hosts that are refused.

A host is judged by every address that its name has. Link-local addresses, where clouds keep the credentials
of a machine, are always refused; so are addresses that mean no single machine. Loopback and private networks
are fine where the operator names them, and refused where a server names them (`is_named_by_server`), unless
it is that server's own host or one of `Limits.hosts`. Called by `sources.mlflow`, `sources.modeldb` and
`sources.git`.
"""

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from gateway.contract.errors import TurnoutError, UpstreamError
from gateway.contract.lineage import clean
from gateway.sources.fetched import Limits, keep, not_found, refused

MAX_REPLY_BYTES = 4 << 20

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def checked_addresses(host: str, *, limits: Limits, is_named_by_server: bool = False) -> list[str]:
    """The addresses of a host that may be asked, as text."""
    found = _addresses(host)
    if not found:
        raise not_found(f"{host} has no address")
    for address in (reached for each in found for reached in _reached(each)):
        if address.is_link_local or address.is_multicast or address.is_unspecified:
            raise refused(f"{host} is the address {address}: link-local and the like are never asked")
        if is_named_by_server and not address.is_global and host not in limits.hosts:
            raise refused(
                f"the server sends on to {host} ({address}), which is not a public address: add "
                f"--source-host {host} if that is meant"
            )
    return [str(address) for address in found]


def _addresses(host: str) -> list[IpAddress]:
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    addresses = (ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found)
    return list(dict.fromkeys(_unmapped(address) for address in addresses))


def _unmapped(address: IpAddress) -> IpAddress:
    """::ffff:169.254.0.1 is 169.254.0.1."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _reached(address: IpAddress) -> list[IpAddress]:
    """This address, and that of IPv4 which a translator (NAT64, RFC 6052) or 6to4 makes of it."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    translated = ipaddress.IPv4Address(address.packed[-4:]) if address in _NAT64 else address.sixtofour
    return [address] if translated is None else [address, translated]


class Server:
    """One HTTP server; `what` is its name for people."""

    def __init__(self, url: str, what: str, *, limits: Limits) -> None:
        self.url, self._what, self._limits = url, what, limits
        checked_addresses(_parsed(url).host, limits=limits)
        self._client = _client(limits, is_encrypted=url.startswith("https:"))

    def close(self) -> None:
        self._client.close()

    def json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The object that it answers; an error says what the server said."""
        body = bytearray()
        with (
            _translated(self._what, self.url),
            self._client.stream(method, self.url + path, **request) as reply,
        ):
            for chunk in reply.iter_bytes():
                body += chunk
                if len(body) > MAX_REPLY_BYTES:
                    raise UpstreamError("bad_upstream", f"the answer of {self.url} is too long")
            status = reply.status_code
        try:
            value = httpx2.Response(200, content=bytes(body)).json()
        except (ValueError, RecursionError):
            value = None
        if status != 200 or not isinstance(value, dict):
            said = value.get("message", "") if isinstance(value, dict) else ""
            code = "not_found" if status == 404 else "bad_upstream"
            raise TurnoutError(
                code, f"{self._what} at {self.url} answered {status}: {clean(said) or 'no JSON'}"
            )
        return value

    def download(self, path: str, into: Path) -> Path:
        with _translated(self._what, self.url), self._client.stream("GET", self.url + path) as reply:
            return _kept(reply, into, what=self._what, limits=self._limits)


def download_from(url: str, into: Path, *, what: str, own_host: str, limits: Limits) -> Path:
    """A file at an address that a server named."""
    parsed = _parsed(url)
    checked_addresses(parsed.host, limits=limits, is_named_by_server=parsed.host != own_host)
    with (
        _client(limits, is_encrypted=parsed.scheme == "https") as client,
        _translated(what, f"{parsed.scheme}://{parsed.host}"),
        client.stream("GET", parsed) as reply,
    ):
        return _kept(reply, into, what=what, limits=limits)


def _parsed(url: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise refused(f"{clean(url)} is not an address") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise refused(f"{clean(url)} is not an address of HTTP: only what a server hands out is taken")
    return parsed


def _client(limits: Limits, *, is_encrypted: bool) -> httpx2.Client:
    return httpx2.Client(
        timeout=min(limits.timeout_s, 30.0), follow_redirects=False, trust_env=False, verify=is_encrypted
    )


def _kept(reply: httpx2.Response, into: Path, *, what: str, limits: Limits) -> Path:
    if reply.status_code != 200:
        raise UpstreamError("bad_upstream", f"{what} answered {reply.status_code} for the file")
    return keep(reply.iter_bytes(1 << 20), into, limits=limits)


@contextmanager
def _translated(what: str, url: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.TransportError, httpx2.InvalidURL, httpx2.DecodingError) as error:
        raise TurnoutError(
            "unreachable", f"the {what} server {url} did not answer ({type(error).__name__})"
        ) from None


def items(value: Any, key: str) -> list[dict[str, Any]]:
    """The objects of a list in an answer; whatever else is there is left out."""
    found = value.get(key) if isinstance(value, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def pairs(entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Key -> value, as both servers write attributes."""
    return {str(entry.get("key", "")): entry.get("value", "") for entry in entries if entry.get("key")}
