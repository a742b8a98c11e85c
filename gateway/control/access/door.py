"""Who may do what on the control API: a pure ASGI middleware that decides before a body is read.

The key document is read from Redis with each call, so a revocation counts at once here; gateways follow it.
Everything that fails to prove itself gets the same answer. People have logged in (`control.access.people`),
or come through a proxy that has logged them in: its header is believed beside its secret only. Without keys,
and without an issuer to log in at, everybody is an admin, as on loopback ever since."""

import hmac
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.contract import headers as header_names
from gateway.contract import keys
from gateway.contract.access import (
    IN_QUERY,
    KEY_NAME_PATTERN,
    Access,
    AccessSettings,
    Key,
    Role,
    has_key_in,
    token_in,
)
from gateway.contract.envelope import Envelope
from gateway.contract.errors import CallerError, TurnoutError, UpstreamError
from gateway.control.access.caller import SCOPE_KEY, Known
from gateway.control.access.people import TOKEN_PREFIX, People
from gateway.control.access.roles import rule_for
from gateway.control.answers import answer
from gateway.control.said import Said
from gateway.store.documents import IS_DRY, KEY_ID, REQUEST_ID, Documents
from gateway.store.key_uses import KeyUses

PROXY_SECRET = "turnout-proxy-secret"
NOTE_S = 60.0  # when a key was used last is told to the minute
TELL_S = 10.0  # failures are logged at most so often
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_NAME = re.compile(KEY_NAME_PATTERN)
_WRONG = "this key is wrong, expired or revoked: ask an admin for another one"
_MISSING = "a key is needed: set TURNOUT_KEY, or send the header `Authorization: Bearer KEY`"
log = logging.getLogger("turnout.control")


class Failures:
    """Calls that could not prove who they are, in this process."""

    def __init__(self) -> None:
        self.count = 0
        self._told_s = -TELL_S

    def note(self) -> None:
        self.count += 1
        now_s = time.monotonic()
        if now_s - self._told_s >= TELL_S:
            self._told_s = now_s
            log.warning("%d calls with a wrong key, or none, since the start", self.count)


class Door:
    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: AccessSettings,
        documents: Documents,
        uses: KeyUses,
        failures: Failures,
        people: People,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._app = app
        self._settings = settings
        self._documents = documents
        self._uses = uses
        self._failures = failures
        self._people = people
        self._now_ms = now_ms
        self._noted: dict[str, int] = {}  # key id -> when its use was written last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = _values(scope["headers"])
        request_id = headers.get("x-request-id", "")
        if _REQUEST_ID.fullmatch(request_id) is None:
            request_id = uuid.uuid4().hex

        said = Said(scope, request_id, headers.get("traceparent", ""))

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                said.status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            caller = await self._admit(scope, headers)
            is_dry = _is_dry(scope, headers)
        except TurnoutError as error:
            await answer(error)(scope, receive, send_named)
            said.ended("")
            return
        scope[SCOPE_KEY] = caller
        key_token, request_token = KEY_ID.set(caller.key_id), REQUEST_ID.set(request_id)
        dry_token = IS_DRY.set(is_dry)
        try:
            await self._app(scope, receive, send_named)
        finally:
            said.ended(caller.name)
            KEY_ID.reset(key_token)
            REQUEST_ID.reset(request_token)
            IS_DRY.reset(dry_token)

    async def _admit(self, scope: Scope, headers: dict[str, str]) -> Known:
        if has_key_in(scope["query_string"].decode("latin-1")):
            raise CallerError("bad_request", IN_QUERY)
        rule = rule_for(scope["method"], scope["path"])
        if not isinstance(rule, str) and rule.role is None:
            return Known(role=Role.CLIENT, models=frozenset())
        caller = await self._identify(headers)
        if not caller.has_key:
            return caller  # keys are off
        if isinstance(rule, str):
            what = "nothing is" if rule == "not_found" else f"{scope['method']} is not possible"
            raise CallerError(rule, f"{what} at {scope['path']}")
        assert rule.role is not None
        if not caller.role.includes(rule.role):
            raise CallerError(
                "forbidden",
                f"this needs the role {rule.role}, and {caller.name} is {caller.role}: use another key, or "
                "ask an admin for one",
                role=caller.role,
                needs=rule.role,
            )
        if rule.model is not None:
            caller.require(rule.model)
        return caller

    async def _identify(self, headers: dict[str, str]) -> Known:
        """Raises `unauthenticated`, or `store_away` where nobody can tell."""
        settings = self._settings
        if settings.required == "off":
            return Known()
        authorization = headers.get("authorization")
        token = None if authorization is None else token_in(authorization.encode("latin-1"))
        fields = [keys.ACCESS_FIELD] + ([] if token is None else [keys.key_field(token.key_id)])
        access, *found = await self._documents.several(fields)
        if settings.required == "auto" and not turns_on(access) and not self._people.settings.issuer:
            return Known()
        if (session := _session_in(authorization)) is not None:
            return self._logged_in(session)
        if authorization is None and (person := self._person(headers)) is not None:
            return person
        key = key_in(found[0]) if found else None
        if token is None or key is None or not token.proves(key.digest) or key.has_expired(self._now_ms()):
            self._failures.note()
            raise CallerError("unauthenticated", _MISSING if authorization is None else _WRONG)
        await self._note_use(token.key_id)
        return Known(key.name, key.role, key.scope, token.key_id, has_key=True)

    def _logged_in(self, session: str) -> Known:
        person = self._people.find(session, now_s=time.monotonic())
        if person is None:
            self._failures.note()
            raise CallerError("unauthenticated", "your login has ended: log in again")
        return Known(person.name, person.role, None, "login", has_key=True)

    def _person(self, headers: dict[str, str]) -> Known | None:
        """Whom a trusted proxy has logged in."""
        settings = self._settings
        if not settings.proxy_header or not settings.proxy_secret:
            return None
        name, secret = headers.get(settings.proxy_header.lower(), ""), headers.get(PROXY_SECRET, "")
        if not name or not hmac.compare_digest(secret.encode(), settings.proxy_secret.encode()):
            return None
        role = settings.proxy_roles.get(name) or settings.proxy_roles.get("*")
        if role is None or _NAME.fullmatch(name) is None:
            raise CallerError(
                "forbidden",
                "access.proxy_roles gives this user no role: ask whoever runs the control process",
            )
        return Known(name, role, None, "proxy", has_key=True)

    async def _note_use(self, key_id: str) -> None:
        now_ms = self._now_ms()
        if now_ms - self._noted.get(key_id, 0) >= NOTE_S * 1000:
            self._noted[key_id] = now_ms
            try:
                await self._uses.note([key_id], now_ms=now_ms)
            except UpstreamError:
                del self._noted[key_id]


def _is_dry(scope: Scope, headers: dict[str, str]) -> bool:
    """Refused where the header would not hold back what is written."""
    wish = headers.get(header_names.DRY_RUN.decode())
    if wish is None or scope["method"] in ("GET", "HEAD"):
        return False
    rule = rule_for(scope["method"], scope["path"])
    if wish != "true" or isinstance(rule, str) or not rule.is_dry_runnable:
        raise CallerError("bad_request", f"{scope['path']} knows no dry run by header: nothing was changed")
    return True


def turns_on(access: Envelope | None) -> bool:
    """Whether there is an admin key. A document edited into nonsense does not open the door."""
    if access is None:
        return False
    try:
        return Access.model_validate(access.doc).admins > 0
    except ValueError:
        return True


def key_in(envelope: Envelope | None) -> Key | None:
    if envelope is None:
        return None
    try:
        return Key.model_validate(envelope.doc)
    except ValueError:
        return None


def _session_in(authorization: str | None) -> str | None:
    """The token of somebody who has logged in (`control.access.people`)."""
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token.startswith(TOKEN_PREFIX) else None


def _values(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """A header that comes twice is none: two programs could choose differently."""
    values: dict[str, str] = {}
    for name, value in headers:
        text = name.decode("latin-1")
        values[text] = "" if text in values else value.decode("latin-1")
    return values
