"""The other side of a login by OpenID Connect: where the issuer is found, and whether its token holds.

Discovery and keys are fetched when the first person logs in, kept for an hour, and the keys again when a
token names one that is not known. Sources: OpenID Connect Core 1.0 (3.1: code flow, 3.1.3.7: what of an ID
token has to be checked), Discovery 1.0, RFC 7636 (PKCE). Signatures are checked by joserfc, which comes with
the extra `turnout[oidc]` and is loaded when it is needed: with its cryptography it takes most of a second.

Must not know: sessions, roles. Called by `control.api.login`.
"""

import base64
import hmac
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode

import httpx2

from gateway.contract.errors import CallerError, UpstreamError
from gateway.contract.oidc import OidcSettings, is_safe
from gateway.control.access.people import Login

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

TIMEOUT_S = 5.0
KEEP_S = 3600.0
AGAIN_S = 10.0  # a token with an unknown key makes the keys be fetched again at most so often
MAX_BYTES = 256 * 1024
# Asymmetric ones alone: with `none` or a shared secret a token would prove nothing.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]


class Issuer:
    def __init__(self, settings: OidcSettings, *, now_s: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now_s = now_s
        self._client: httpx2.AsyncClient | None = None
        self._document: dict[str, Any] = {}
        self._document_s = -KEEP_S
        self._keys: KeySet | None = None
        self._keys_s = -KEEP_S

    async def authorization_url(self, state: str, login: Login) -> str:
        """Where a browser is sent to log in."""
        settings = self._settings
        endpoint = (await self._discovered())["authorization_endpoint"]
        asked = {
            "response_type": "code",
            "client_id": settings.client_id,
            "redirect_uri": settings.redirect_uri,
            "scope": " ".join(settings.scopes),
            "state": state,
            "nonce": login.nonce,
            "code_challenge": login.challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    async def claims(self, code: str, login: Login) -> Mapping[str, Any]:
        """What the issuer says of the person, once it is proven. Raises `unauthenticated`, `bad_upstream`."""
        settings = self._settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": settings.redirect_uri,
            "code_verifier": login.verifier,
        }
        reply = await self._exchanged(form)
        token = reply.get("id_token")
        if not isinstance(token, str):
            said = str(reply.get("error", "no id_token"))[:64]
            if said in ("invalid_client", "unauthorized_client"):
                raise self._away(
                    f"it does not take this application's client_id and client_secret ({said}): "
                    "set control.oidc as it knows them"
                )
            raise CallerError(
                "unauthenticated", f"{settings.issuer} did not take the code back ({said}): begin again"
            )
        claims = await self._proven(token)
        self._check(claims, login)
        return await self._with_userinfo(claims, reply.get("access_token"))

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _exchanged(self, form: dict[str, str]) -> dict[str, Any]:
        """The answer of the token endpoint. Which way a client shows its secret may be fixed at the issuer,
        which need not say so: one that does not take the first is asked in the second.
        """
        settings, document = self._settings, await self._discovered()
        named = {**form, "client_id": settings.client_id}
        ways: list[tuple[str, dict[str, str], dict[str, str]]] = [
            ("client_secret_basic", form, _basic(settings.client_id, settings.client_secret)),
            ("client_secret_post", {**named, "client_secret": settings.client_secret}, {}),
        ]
        known = document.get("token_endpoint_auth_methods_supported")
        if isinstance(known, list):
            ways = [way for way in ways if way[0] in known] or ways[1:]
        if not settings.client_secret:
            ways = [("none", named, {})]
        reply: dict[str, Any] = {}
        for _, data, headers in ways:
            reply = await self._ask("POST", document["token_endpoint"], data=data, headers=headers)
            if reply.get("error") != "invalid_client":
                break
        return reply

    async def _with_userinfo(self, claims: Mapping[str, Any], access_token: Any) -> Mapping[str, Any]:
        """With what the issuer says of this person elsewhere, where the token lacks name or role: it may keep
        what a scope asks for to its userinfo endpoint (Core 5.4). What the token says itself goes first.
        """
        wanted = {self._settings.name_claim, self._settings.role_claim}
        endpoint = (await self._discovered()).get("userinfo_endpoint")
        if wanted <= claims.keys() or not isinstance(access_token, str) or not is_safe(str(endpoint or "")):
            return claims
        told = await self._ask("GET", str(endpoint), headers={"authorization": f"Bearer {access_token}"})
        if not isinstance(claims.get("sub"), str) or told.get("sub") != claims["sub"]:  # Core 5.3.2
            raise _refused("the issuer's userinfo is about somebody else")
        return {**told, **claims}

    def _check(self, claims: Mapping[str, Any], login: Login) -> None:
        settings, now_s = self._settings, self._now_s()
        audience = claims.get("aud")
        audiences = (
            [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
        )
        party = claims.get("azp")
        ends_s, made_s = _number(claims.get("exp")), _number(claims.get("iat"))
        nonce = claims.get("nonce")
        if claims.get("iss") != settings.issuer:
            raise _refused("it was issued by somebody else")
        if settings.client_id not in audiences or (len(audiences) > 1 and party is None):
            raise _refused("it is for another application")
        if party is not None and party != settings.client_id:
            raise _refused("it was given to another application")
        if ends_s is None or ends_s + settings.skew_s <= now_s:
            raise _refused("it has expired: do the clocks agree?")
        if made_s is None or made_s - settings.skew_s > now_s:
            raise _refused("it is from the future: do the clocks agree?")
        begins_s = _number(claims.get("nbf"))
        if begins_s is not None and begins_s - settings.skew_s > now_s:
            raise _refused("it is not valid yet: do the clocks agree?")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), login.nonce.encode()):
            raise _refused("it belongs to another login")

    async def _proven(self, token: str) -> Mapping[str, Any]:
        """The claims, once the signature holds under one of the issuer's keys."""
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError, JoseError

        for may_fetch in (True, False):
            try:
                return jwt.decode(token, await self._key_set(), algorithms=ALGORITHMS).claims
            except InvalidKeyIdError:
                if not (may_fetch and self._forget_keys()):
                    raise _refused("it is signed with a key that the issuer does not name") from None
            except (JoseError, ValueError):
                raise _refused("its signature is wrong") from None
        raise AssertionError("the second attempt returns or raises")

    def _forget_keys(self) -> bool:
        if self._now_s() - self._keys_s < AGAIN_S:
            return False
        self._keys = None
        return True

    async def _key_set(self) -> "KeySet":
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        if self._keys is None or self._now_s() - self._keys_s >= KEEP_S:
            found: Any = await self._ask("GET", (await self._discovered())["jwks_uri"])
            try:
                self._keys = KeySet.import_key_set(found)
            except (JoseError, ValueError, KeyError, TypeError):
                raise self._away("its keys cannot be read") from None
            self._keys_s = self._now_s()
        return self._keys

    async def _discovered(self) -> dict[str, Any]:
        if self._now_s() - self._document_s >= KEEP_S:
            issuer = self._settings.issuer
            document = await self._ask("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
            if document.get("issuer") != issuer:
                raise self._away(
                    f"it calls itself {str(document.get('issuer'))[:128]}: set control.oidc.issuer so"
                )
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not is_safe(str(document.get(name, ""))):
                    raise self._away(f"its {name} is not an https URL")
            self._document, self._document_s = document, self._now_s()
        return self._document

    async def _ask(
        self, method: str, url: str, *, headers: Mapping[str, str] = MappingProxyType({}), **request: Any
    ) -> dict[str, Any]:
        """The JSON object of an answer; also of one that says no, where it has one."""
        if self._client is None:
            self._client = httpx2.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False)
        try:
            asked = {"accept": "application/json", **headers}
            reply = await self._client.request(method, url, headers=asked, **request)
        except httpx2.HTTPError as error:
            raise self._away(f"no answer ({type(error).__name__})") from None
        try:
            value = reply.json() if len(reply.content) <= MAX_BYTES else None
        except ValueError:
            value = None
        if not isinstance(value, dict) or (method == "GET" and not reply.is_success):
            raise self._away(f"what it answers makes no sense (status {reply.status_code})")
        return value

    def _away(self, why: str) -> UpstreamError:
        return UpstreamError("bad_upstream", f"logging in at {self._settings.issuer} is not possible: {why}")


def _refused(why: str) -> CallerError:
    return CallerError("unauthenticated", f"the token of this login is refused: {why}")


def _basic(client_id: str, secret: str) -> dict[str, str]:
    """RFC 6749, section 2.3.1: both are encoded as in a form first."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
