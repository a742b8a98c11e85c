"""A small OpenID Connect provider for tests: a double of our own, a real process with real RS256 keys.

It logs everybody in without asking. What the next token says, and what is wrong with it, a test sets by
`POST /next`: `claims` replace those of a good token (null removes one), `sign` is `known`, `rotated` (a new
key, published), `unpublished`, `broken`, `hs256`, or `shared` (HS256 under a secret that it publishes);
`document` replaces what it says of itself, where `/sends-on` is an address that redirects to `/token`;
`userinfo` is what its userinfo endpoint tells; `shown` is how the client has to show its secret: `basic` or
`post` (either, if nothing is said). It checks what a provider has to: the client's secret, the redirect
address, the code (once), and the verifier of PKCE.

    python -m tests.provider CLIENT_ID CLIENT_SECRET     prints its address as the first line
"""

import base64
import hashlib
import json
import secrets
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey


def new_key(name: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig"}, private=True)


def told(key: RSAKey | OctKey) -> Any:
    return key.as_dict() if isinstance(key, OctKey) else key.as_dict(private=False)


class Provider(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, client_id: str, client_secret: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server_address[1]}"
        self.client_id, self.client_secret = client_id, client_secret
        self.published: list[RSAKey | OctKey] = [new_key("first")]
        self.codes: dict[str, dict[str, str]] = {}  # code -> what the browser was sent with
        self.next: dict[str, Any] = {}

    def token(self, asked: dict[str, str]) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer, "aud": self.client_id, "sub": "4711", "email": "ana@example.org",
            "email_verified": True, "groups": ["ops"], "nonce": asked["nonce"], "iat": now, "exp": now + 300,
        }  # fmt: skip
        claims |= self.next.get("claims", {})
        claims = {name: value for name, value in claims.items() if value is not None}
        match self.next.get("sign", "known"):
            case "rotated":
                self.published = [new_key(f"key-{secrets.token_hex(4)}")]
                key: Any = self.published[0]
            case "unpublished":
                key = new_key("first")
            case "hs256":
                key = OctKey.import_key(self.client_secret * 3)
                return jwt.encode({"alg": "HS256", "kid": "first"}, claims, key)
            case "shared":
                key = OctKey.generate_key(256, {"kid": "shared", "use": "sig"})
                self.published.append(key)
                return jwt.encode({"alg": "HS256", "kid": "shared"}, claims, key)
            case _:
                key = self.published[0]
        token = jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)
        return token[:-8] + "AAAAAAAA" if self.next.get("sign") == "broken" else token


class Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        provider, parts = self.server, urlsplit(self.path)
        match parts.path:
            case "/.well-known/openid-configuration":
                self.answer(200, {
                    "issuer": provider.issuer, "authorization_endpoint": f"{provider.issuer}/authorize",
                    "token_endpoint": f"{provider.issuer}/token", "jwks_uri": f"{provider.issuer}/jwks",
                    "userinfo_endpoint": f"{provider.issuer}/userinfo",
                    **provider.next.get("document", {}),
                })  # fmt: skip
            case "/jwks":
                self.answer(200, {"keys": [told(key) for key in provider.published]})
            case "/userinfo":
                assert self.headers["authorization"] == "Bearer for-userinfo"
                self.answer(200, provider.next.get("userinfo", {"sub": "4711"}))
            case "/authorize":
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                assert asked["code_challenge_method"] == "S256"
                code = secrets.token_urlsafe(16)
                provider.codes[code] = asked
                back = urlencode({"code": code, "state": asked["state"]})
                self.send_response(302)
                self.send_header("location", f"{asked['redirect_uri']}?{back}")
                self.end_headers()
            case _:
                self.answer(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/next":
            self.server.next = json.loads(body)
            self.answer(200, {})
        elif self.path == "/token":
            self.answer(*self.exchange({name: values[0] for name, values in parse_qs(body.decode()).items()}))
        elif self.path == "/sends-on":
            self.send_response(307)
            self.send_header("location", "/token")
            self.send_header("content-length", "0")
            self.end_headers()
        else:
            self.answer(404, {})

    def exchange(self, form: dict[str, str]) -> tuple[int, dict[str, str]]:
        provider = self.server
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if self.shown(form) != provider.client_secret:
            return 401, {"error": "invalid_client"}
        asked = provider.codes.pop(form.get("code", ""), None)
        if (
            asked is None
            or asked["code_challenge"] != challenge.rstrip(b"=").decode()
            or asked["redirect_uri"] != form.get("redirect_uri")
        ):
            return 400, {"error": "invalid_grant"}
        return 200, {
            "access_token": "for-userinfo",
            "token_type": "Bearer",
            "id_token": provider.token(asked),
        }

    def shown(self, form: dict[str, str]) -> str | None:
        """The client's secret, if it is shown as it has to be."""
        scheme, _, pair = self.headers.get("authorization", "").partition(" ")
        way = "basic" if scheme == "Basic" else "post"
        if self.server.next.get("shown", way) != way:
            return None
        if way == "post":
            return form.get("client_secret")
        return unquote_plus(base64.b64decode(pair).decode().partition(":")[2])

    def answer(self, status: int, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the standard library
        """Nothing."""


def main() -> None:
    provider = Provider(*sys.argv[1:3])
    print(provider.issuer, flush=True)
    provider.serve_forever()


if __name__ == "__main__":
    main()
