"""Keys, roles and scopes: what control and gateways agree on about who may do what.

A key's secret is 256 random bits, so the stored form is its plain SHA-256. bcrypt and its kind slow down the
guessing of words that people choose; nobody guesses 256 bits, and a gateway checks keys per request, where
slowness would be a gift to an attacker. What a token looks like is fixed, so that scanners for leaked secrets
can find one, and anything else is refused unhashed.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from gateway.contract.names import ModelName
from gateway.contract.route import Document

ALL_MODELS = "*"
KEY_ID_PATTERN = r"^[0-9a-f]{10}$"
KEY_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
HEADER_BYTES = 128  # no Authorization header with a key of ours is longer
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_TOKEN = re.compile(rb"[Bb]earer +(tk_([0-9a-f]{10})_[A-Za-z0-9_-]{43})")
# A key, or what others call a key, in a query string.
_IN_QUERY = re.compile(r"tk_[0-9a-f]{10}_|(?:^|&)(?:key|api[_-]?key|access_token|token)=", re.IGNORECASE)
IN_QUERY = (
    "A key must not be part of a URL, since URLs end up in logs and histories: send it in the header "
    "`Authorization: Bearer KEY`. If this was a real key, revoke it (`turnout key revoke`)."
)


class Role(StrEnum):
    """Each may do what those before it may."""

    CLIENT = "client"  # predictions, feedback
    VIEWER = "viewer"  # read everything within its scope
    OPERATOR = "operator"  # change routes, workers, versions
    APPROVER = "approver"  # approve what operators propose
    ADMIN = "admin"  # keys

    def includes(self, other: "Role") -> bool:
        return _RANK[self] >= _RANK[other]


_RANK = {role: rank for rank, role in enumerate(Role)}

KeyName = Annotated[str, StringConstraints(pattern=KEY_NAME_PATTERN)]


class Key(Document):
    """The document `key/<id>`: everything but the secret."""

    name: KeyName
    role: Role
    models: tuple[ModelName | Literal["*"], ...] = Field(default=(ALL_MODELS,), min_length=1, max_length=64)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the token")
    pin: bool = False
    rate_per_s: float | None = Field(default=None, gt=0, le=1_000_000)
    expires_at_ms: int | None = Field(default=None, gt=0)

    @field_validator("models")
    @classmethod
    def _all_or_named(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        return (ALL_MODELS,) if ALL_MODELS in models else tuple(sorted(set(models)))

    @property
    def scope(self) -> frozenset[str] | None:
        """The models it may touch; None = all."""
        return None if ALL_MODELS in self.models else frozenset(self.models)

    def has_expired(self, now_ms: float) -> bool:
        return self.expires_at_ms is not None and self.expires_at_ms <= now_ms


class Access(Document):
    """The document `access`: written with every change of a key, so that these follow one another.

    `admins` > 0 turns authentication on wherever the setting says `auto`, whatever became of the keys.
    """

    admins: int = Field(ge=0)


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """`required`: auto = as soon as there is an admin key. The proxy's settings are for people (control)."""

    required: Literal["auto", "on", "off"] = "auto"
    proxy_header: str = ""  # names the user; believed only beside the secret
    proxy_secret: str = field(default="", repr=False)  # what the proxy sends as `turnout-proxy-secret`
    proxy_roles: dict[str, Role] = field(default_factory=dict)  # user -> role; `*` = everybody else


@dataclass(frozen=True, slots=True)
class Token:
    """What a caller sent: `text` is the whole secret."""

    key_id: str
    text: bytes

    def proves(self, digest: str) -> bool:
        return hmac.compare_digest(digest_of(self.text), digest)


def new_token() -> Token:
    key_id = secrets.token_hex(5)
    return Token(key_id, f"tk_{key_id}_{secrets.token_urlsafe(32)}".encode())


def digest_of(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def token_in(authorization: bytes) -> Token | None:
    """The token of an `Authorization` header; None = that is no key of ours, whatever else it is."""
    found = None if len(authorization) > HEADER_BYTES else _TOKEN.fullmatch(authorization.strip())
    return None if found is None else Token(found[2].decode(), found[1])


def has_key_in(query: str) -> bool:
    return _IN_QUERY.search(query) is not None
