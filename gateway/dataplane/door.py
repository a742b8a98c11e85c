"""Who may come in: a request's `Authorization` header against the keys of the snapshot.

A header that was verified once is remembered as it stands on the wire, so that a known caller costs one
look-up: no hash, no clock, no Redis. Any change of a key empties that memory. Headers that are wrong are not
remembered: each costs one SHA-256 of 63 bytes at most, and gets the same answer whatever is wrong with it.
With keys off a request pays one attribute. Rates count in each process, so a process gets its part of them.

Must not know: Redis, HTTP's bytes. Asked by `protocol` and `app`, fed by `follower`.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.contract.access import Access, AccessSettings, Key, Role, token_in
from gateway.contract.errors import CallerError
from gateway.contract.keys import ACCESS_FIELD
from gateway.core.kept import read_access
from gateway.core.persistent import PersistentMap

MOST_KNOWN = 4096  # headers that are remembered; a valid key can be written in a few ways only
BURST_S = 1.0  # what a key may catch up after it was quiet


@dataclass(slots=True, eq=False)
class Grant:
    """What one key may do here. `tokens` fill with `rate_per_s`, of this process."""

    key_id: str
    key: Key
    models: frozenset[str] | None
    may_pin: bool
    rate_per_s: float | None
    was_used: bool = False
    tokens: float = 0.0
    filled_at_s: float = 0.0

    def wait_s(self, now_s: float) -> float:
        """0 and a token less; or how long until there is one."""
        rate = self.rate_per_s
        if rate is None:
            return 0.0
        most = max(1.0, rate * BURST_S)
        self.tokens = min(most, self.tokens + (now_s - self.filled_at_s) * rate)
        self.filled_at_s = now_s
        if self.tokens < 1:
            return (1 - self.tokens) / rate
        self.tokens -= 1
        return 0.0


class Door:
    """`is_on`: requests need a key. `processes`: how many share a key's rate."""

    def __init__(self, settings: AccessSettings, *, processes: int = 1) -> None:
        self.settings = settings
        self.processes = processes
        self.is_on = settings.required == "on"
        self.grants: dict[str, Grant] = {}  # by key id
        self.known: dict[bytes, Grant] = {}  # by header
        self.access: PersistentMap[bytes] = PersistentMap()

    def switch(self, access: PersistentMap[bytes]) -> None:
        """Follow the keys of a snapshot, from the next request on."""
        if access is self.access:
            return
        for field in access.differing(self.access):
            line = access.get(field)
            document = None if line is None else read_access(line)
            key_id = field.removeprefix("key/")
            if isinstance(document, Key):
                self.grants[key_id] = self._grant(key_id, document)
            else:
                self.grants.pop(key_id, None)
        self.access = access
        self.known.clear()
        line = access.get(ACCESS_FIELD)
        said = None if line is None else read_access(line)
        has_admin = (isinstance(said, Access) and said.admins > 0) or any(
            grant.key.role is Role.ADMIN for grant in self.grants.values()
        )
        required = self.settings.required
        self.is_on = required == "on" or (required == "auto" and has_admin)

    def admit(self, headers: Mapping[bytes, bytes], model: str | None, *, is_pin: bool = False) -> Grant:
        """Raises the `CallerError` that says why not. `model` None: nothing of one model is asked for."""
        grant = self.known.get(headers.get(b"authorization", b""))
        if grant is None:
            grant = self._learn(headers.get(b"authorization"))
        if model is not None and grant.models is not None and model not in grant.models:
            raise CallerError("forbidden", f"This key is not for {model}: ask an admin for one that is.")
        if is_pin and not grant.may_pin:
            raise CallerError(
                "forbidden",
                "This key may not choose a version: leave it out, or ask an admin for a key with --pin.",
            )
        grant.was_used = True
        if grant.rate_per_s is not None and (wait_s := grant.wait_s(time.monotonic())) > 0:
            raise CallerError(
                "over_limit",
                f"This key may send {grant.key.rate_per_s:g} requests a second: wait as retry-after says.",
                retry_after_s=math.ceil(wait_s),
            )
        return grant

    def forget_expired(self, now_ms: float) -> None:
        """Called a few times a second, so that no request has to look at the clock."""
        gone = {key_id for key_id, grant in self.grants.items() if grant.key.has_expired(now_ms)}
        if gone:
            for key_id in gone:
                del self.grants[key_id]
            self.known = {raw: grant for raw, grant in self.known.items() if grant.key_id not in gone}

    def take_used(self) -> list[str]:
        """Ids of the keys that were used since this was last asked."""
        used = [key_id for key_id, grant in self.grants.items() if grant.was_used]
        for key_id in used:
            self.grants[key_id].was_used = False
        return used

    def _grant(self, key_id: str, key: Key) -> Grant:
        rate = None if key.rate_per_s is None else key.rate_per_s / self.processes
        before = self.grants.get(key_id)
        return Grant(
            key_id,
            key,
            models=key.scope,
            may_pin=key.pin,
            rate_per_s=rate,
            tokens=max(1.0, (rate or 0.0) * BURST_S) if before is None else before.tokens,
            filled_at_s=time.monotonic(),
        )

    def _learn(self, authorization: bytes | None) -> Grant:
        if authorization is None:
            raise CallerError(
                "unauthenticated", "A key is needed: send the header `Authorization: Bearer KEY`."
            )
        token = token_in(authorization)
        grant = None if token is None else self.grants.get(token.key_id)
        if token is None or grant is None or not token.proves(grant.key.digest):
            raise CallerError(
                "unauthenticated", "This key is wrong, expired or revoked: ask an admin for another one."
            )
        if grant.key.has_expired(time.time() * 1000):
            self.forget_expired(time.time() * 1000)
            return self._learn(authorization)
        if len(self.known) >= MOST_KNOWN:
            self.known.clear()
        self.known[authorization] = grant
        return grant
