"""What the console remembers of one browser: who says it is there, and the key it gives to the control API.

It lives in this process only. The browser holds a random name of its session, in a cookie that scripts cannot
read; the key itself never leaves the server again. Called by `console.door` and by the pages.
"""

import secrets
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from starlette.types import Scope

COOKIE = "turnout_console"
MAX_SESSIONS = 1000  # the one that was used longest ago goes first
_NAME_BYTES = 24


@dataclass(slots=True)
class Session:
    """The one place where the console's calls get their credentials from; `key` None: none is known."""

    author: str = ""
    key: str | None = None
    is_login: bool = False  # the key came from a login at a provider
    named: str = ""  # who the control API said that the key is, and its role
    role: str = ""
    left: str = ""  # the page that was left for want of a key, below the console's own path
    dark: bool | None = None  # None = as the viewer's system

    @property
    def who(self) -> str:
        """Whom the pages greet; "" = nobody known."""
        return f"{self.named} ({self.role})" if self.key and self.named else self.author

    def forget_key(self) -> None:
        self.key, self.named, self.role = None, "", ""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What says to the control API who calls."""
        said = [(b"x-turnout-author", (self.author or "console").encode())]
        return said if self.key is None else [*said, (b"authorization", f"Bearer {self.key}".encode())]


class Sessions:
    def __init__(self) -> None:
        self._by_name: OrderedDict[str, Session] = OrderedDict()

    def find(self, headers: Iterable[tuple[bytes, bytes]]) -> Session | None:
        """The session of a request with these headers."""
        for name, value in headers:
            if name == b"cookie" and (found := self._of_cookie(value.decode("latin-1"))):
                return found
        return None

    def open(self) -> tuple[str, Session]:
        """A new one and its name."""
        name, session = secrets.token_urlsafe(_NAME_BYTES), Session()
        self._by_name[name] = session
        if len(self._by_name) > MAX_SESSIONS:
            self._by_name.popitem(last=False)
        return name, session

    def close(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """The session of a request with these headers is no more, nor its name."""
        for name, value in headers:
            if name == b"cookie":
                self._by_name.pop(_name_in(value.decode("latin-1")), None)

    def _of_cookie(self, text: str) -> Session | None:
        name = _name_in(text)
        if name not in self._by_name:
            return None
        self._by_name.move_to_end(name)
        return self._by_name[name]


def is_over_https(headers: Collection[tuple[bytes, bytes]]) -> bool:
    """Says the proxy that ends TLS: control itself has none. Whoever lies gets cookies of no use."""
    return (b"x-forwarded-proto", b"https") in headers


def session_cookie(scope: Scope, name: str) -> bytes:
    secure = "; Secure" if is_over_https(scope["headers"]) else ""
    return f"{COOKIE}={name}; Path=/console; HttpOnly; SameSite=Strict{secure}".encode()


def _name_in(text: str) -> str:
    try:
        cookie = SimpleCookie(text)
    except CookieError:
        return ""
    return cookie[COOKIE].value if COOKIE in cookie else ""
