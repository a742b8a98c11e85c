"""People who are logging in, and who are logged in: kept in this process' memory, and gone when it ends.

A login is begun under a random state that is used once, belongs to one browser (`binding`), and ends after
ten minutes. A session's token is random, 256 bits, and held as its digest. Which claims give which role is
decided here, and whoever has none of the roles does not come in.

Pure but for chance: time comes as `now_s`. Called by `control.api.login` and `control.access.door`.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.contract.access import KEY_NAME_PATTERN, Role
from gateway.contract.errors import CallerError
from gateway.contract.oidc import OidcSettings

LOGIN_S = 600.0  # in which a person has to log in at the provider
MOST_LOGINS = 1000  # begun and not ended; the oldest goes first
MOST_SESSIONS = 10_000
TOKEN_PREFIX = "ts_"  # so that nobody takes a session for a key
_NAME = re.compile(KEY_NAME_PATTERN)


@dataclass(frozen=True, slots=True)
class Login:
    """What has to be known when the person comes back from the provider."""

    nonce: str
    verifier: str
    binding: str
    ends_s: float

    @property
    def challenge(self) -> str:
        """RFC 7636, section 4.2: S256."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    role: Role
    ends_s: float


class People:
    def __init__(self, settings: OidcSettings) -> None:
        self.settings = settings
        self._logins: OrderedDict[str, Login] = OrderedDict()
        self._sessions: OrderedDict[str, Person] = OrderedDict()

    def begin(self, binding: str, *, now_s: float) -> tuple[str, Login]:
        """A state, and the login that goes on under it."""
        state = secrets.token_urlsafe(32)
        login = Login(secrets.token_urlsafe(32), secrets.token_urlsafe(48), binding, now_s + LOGIN_S)
        self._logins[state] = login
        if len(self._logins) > MOST_LOGINS:
            self._logins.popitem(last=False)
        return state, login

    def take(self, state: str, binding: str, *, now_s: float) -> Login:
        """The login of this state, once. Raises `unauthenticated`."""
        login = self._logins.pop(state, None)
        if login is None or login.ends_s <= now_s:
            raise CallerError(
                "unauthenticated",
                "this login is not known (any more): it was used, or it is old; begin again",
            )
        if not hmac.compare_digest(login.binding.encode(), binding.encode()):
            raise CallerError("unauthenticated", "this login did not begin in this browser: begin again")
        return login

    def admit(self, claims: Mapping[str, Any], *, now_s: float) -> tuple[str, Person]:
        """A session's token and whose it is. Raises `forbidden`: these claims give nobody a role."""
        person = Person(
            name_in(claims, self.settings),
            role_in(claims, self.settings),
            now_s + self.settings.session_s,
        )
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        self._sessions[_digest(token)] = person
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return token, person

    def find(self, token: str, *, now_s: float) -> Person | None:
        digest = _digest(token)
        person = self._sessions.get(digest)
        if person is not None and person.ends_s <= now_s:
            del self._sessions[digest]
            return None
        return person

    def forget(self, token: str) -> bool:
        return self._sessions.pop(_digest(token), None) is not None


def role_in(claims: Mapping[str, Any], settings: OidcSettings) -> Role:
    """The highest role that the claim gives. Raises `forbidden`."""
    said = claims.get(settings.role_claim)
    values = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    roles = [settings.roles[value] for value in values if isinstance(value, str) and value in settings.roles]
    if not roles:
        raise CallerError(
            "forbidden",
            f"{settings.issuer} knows you, but its claim `{settings.role_claim}` gives you no role here: "
            "ask whoever runs the control process (control.oidc.roles)",
        )
    return max(roles, key=list(Role).index)


def name_in(claims: Mapping[str, Any], settings: OidcSettings) -> str:
    """Who the person is in history and audit. Raises `forbidden`."""
    name = claims.get(settings.name_claim)
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise CallerError(
            "forbidden",
            f"the claim `{settings.name_claim}` of {settings.issuer} is not a name for the audit "
            "(letters, digits and ._@-, at most 64): take another one (control.oidc.name_claim)",
        )
    if settings.name_claim == "email" and claims.get("email_verified") is False:
        raise CallerError(
            "forbidden", f"{settings.issuer} has not verified your address: anybody could claim it"
        )
    return name


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
