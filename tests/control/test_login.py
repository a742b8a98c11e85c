"""People log in at a real provider process: what its tokens must be, who gets which role, when it ends."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

import httpx2
import pytest

from gateway.contract.access import AccessSettings, Role
from gateway.contract.errors import CallerError
from gateway.contract.oidc import OidcSettings, problems
from gateway.control.access.oidc import Issuer
from gateway.control.access.people import LOGIN_S, MOST_LOGINS, People
from gateway.control.app import build_app
from gateway.control.settings import ControlSettings

CLIENT, SECRET = "turnout", "a-secret-of-tests"
BINDING = "b" * 43


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """The address of a provider, which is a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.provider", CLIENT, SECRET], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def oidc(provider: str) -> OidcSettings:
    set_next(provider)
    return OidcSettings(
        issuer=provider,
        client_id=CLIENT,
        client_secret=SECRET,
        url="http://127.0.0.1:8090",
        roles={"ops": Role.OPERATOR, "heads": Role.APPROVER},
    )


def set_next(provider: str, **wrong: Any) -> None:
    httpx2.post(f"{provider}/next", json=wrong, trust_env=False, verify=False)


@pytest.fixture
async def api(settings: ControlSettings, oidc: OidcSettings) -> AsyncIterator[httpx2.AsyncClient]:
    app = build_app(replace(settings, oidc=oidc, access=AccessSettings(required="on")))
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8090/api/v1"
    ) as client:
        yield client
    await app.state.parts.aclose()


async def sent_back(url: str) -> SplitResult:
    """Where the provider sends the browser that comes to this address."""
    async with httpx2.AsyncClient(trust_env=False, verify=False) as browser:
        return urlsplit((await browser.get(url)).headers["location"])


async def begin(api: httpx2.AsyncClient) -> dict[str, str]:
    """Up to where the browser comes back from the provider: code and state."""
    begun = await api.post("/login", json={"binding": BINDING})
    assert begun.status_code == 200, begun.text
    back = await sent_back(begun.json()["url"])
    assert f"{back.scheme}://{back.netloc}{back.path}" == "http://127.0.0.1:8090/console/login/back"
    return {name: values[0] for name, values in parse_qs(back.query).items()}


async def finish(api: httpx2.AsyncClient, back: dict[str, str], *, binding: str = BINDING) -> Any:
    reply = await api.post("/login/finish", json={**back, "binding": binding})
    return {"status": reply.status_code, **reply.json()}


async def log_in(api: httpx2.AsyncClient) -> Any:
    return await finish(api, await begin(api))


async def who(api: httpx2.AsyncClient, session: str) -> httpx2.Response:
    return await api.get("/whoami", headers={"authorization": f"Bearer {session}"})


async def test_who_logs_in_has_the_name_and_role_of_the_claims_until_logging_out(
    api: httpx2.AsyncClient,
) -> None:
    assert (await api.get("/status")).status_code == 401
    done = await log_in(api)
    assert (done["status"], done["name"], done["role"]) == (200, "ana@example.org", "operator")
    header = {"authorization": f"Bearer {done['session']}", "content-type": "application/json"}
    told = (await who(api, done["session"])).json()
    assert (told["name"], told["role"], told["key_id"]) == ("ana@example.org", "operator", "login")
    assert (await api.get("/keys", headers=header)).status_code == 403  # an operator is no admin
    assert (await api.request("DELETE", "/login", headers=header)).json()["ended"] is True
    assert (await who(api, done["session"])).status_code == 401


async def test_the_highest_role_of_several_counts(api: httpx2.AsyncClient, provider: str) -> None:
    set_next(provider, claims={"groups": ["ops", "unknown", "heads", 7]})
    assert (await log_in(api))["role"] == "approver"


WRONG_TOKENS: list[tuple[dict[str, Any], str]] = [
    ({"claims": {"iss": "http://127.0.0.1:1"}}, "issued by somebody else"),
    ({"claims": {"aud": "another"}}, "for another application"),
    ({"claims": {"aud": ["turnout", "another"]}}, "for another application"),
    ({"claims": {"aud": ["turnout", "another"], "azp": "another"}}, "given to another application"),
    ({"claims": {"aud": None}}, "for another application"),
    ({"claims": {"exp": time.time() - 120}}, "has expired"),
    ({"claims": {"exp": None}}, "has expired"),
    ({"claims": {"iat": time.time() + 86_400}}, "from the future"),
    ({"claims": {"iat": None}}, "from the future"),
    ({"claims": {"nbf": time.time() + 86_400}}, "not valid yet"),
    ({"claims": {"nonce": "of-another-login"}}, "belongs to another login"),
    ({"claims": {"nonce": None}}, "belongs to another login"),
    ({"sign": "broken"}, "signature is wrong"),
    ({"sign": "unpublished"}, "signature is wrong"),
    ({"sign": "hs256"}, "signature is wrong"),
]
NOBODIES: list[tuple[dict[str, Any], str]] = [
    ({"groups": ["others"]}, "gives you no role"),
    ({"groups": None}, "gives you no role"),
    ({"groups": "Ops"}, "gives you no role"),
    ({"groups": {"ops": True}}, "gives you no role"),
    ({"email": None}, "is not a name"),
    ({"email": "ana <b>"}, "is not a name"),
    ({"email_verified": False}, "not verified"),
]


async def test_a_token_that_does_not_hold_is_refused_and_says_why(
    api: httpx2.AsyncClient, provider: str
) -> None:
    for wrong, words in WRONG_TOKENS:
        set_next(provider, **wrong)
        refused = await log_in(api)
        assert (refused["status"], refused["code"]) == (401, "unauthenticated"), wrong
        assert words in refused["error"]


async def test_a_secret_among_the_issuers_keys_proves_nothing(api: httpx2.AsyncClient, provider: str) -> None:
    """Everybody can read it, so everybody could sign with it."""
    set_next(provider, sign="shared")
    refused = await log_in(api)
    assert (refused["status"], "signature is wrong" in refused["error"]) == (401, True)


async def test_who_has_no_role_or_no_name_does_not_come_in(api: httpx2.AsyncClient, provider: str) -> None:
    for claims, words in NOBODIES:
        set_next(provider, claims=claims)
        refused = await log_in(api)
        assert (refused["status"], refused["code"]) == (403, "forbidden"), claims
        assert words in refused["error"]


@pytest.mark.parametrize("shown", ["basic", "post"])
async def test_the_secret_is_shown_in_the_way_that_the_provider_takes(
    api: httpx2.AsyncClient, provider: str, shown: str
) -> None:
    set_next(provider, shown=shown)
    assert (await log_in(api))["status"] == 200


async def test_a_secret_that_the_provider_does_not_take_is_told_as_one_of_the_settings(
    api: httpx2.AsyncClient, provider: str
) -> None:
    set_next(provider, shown="in another way")
    refused = await log_in(api)
    assert (refused["status"], "client_id and client_secret" in refused["error"]) == (502, True)


async def test_what_the_token_lacks_is_asked_of_userinfo_about_the_same_person(
    api: httpx2.AsyncClient, provider: str
) -> None:
    told = {"sub": "4711", "email": "bea@example.org", "groups": ["heads"]}
    set_next(provider, claims={"email": None, "groups": None}, userinfo=told)
    done = await log_in(api)
    assert (done["status"], done["name"], done["role"]) == (200, "bea@example.org", "approver")
    set_next(provider, claims={"groups": None}, userinfo=told)
    assert (await log_in(api))["name"] == "ana@example.org"  # what the token says goes first
    set_next(provider, claims={"email": None}, userinfo=told | {"sub": "4712"})
    refused = await log_in(api)
    assert (refused["status"], "somebody else" in refused["error"]) == (401, True)


async def test_clocks_may_differ_a_little(api: httpx2.AsyncClient, provider: str) -> None:
    set_next(provider, claims={"exp": time.time() - 30, "iat": time.time() + 30})
    assert (await log_in(api))["status"] == 200


async def test_a_key_that_the_provider_changed_is_fetched(oidc: OidcSettings, provider: str) -> None:
    clock = [time.time()]
    issuer, people = Issuer(oidc, now_s=lambda: clock[0]), People(oidc)

    async def claims() -> Any:
        state, login = people.begin(BINDING, now_s=0)
        back = await sent_back(await issuer.authorization_url(state, login))
        code = parse_qs(back.query)["code"][0]
        return await issuer.claims(code, login)

    await claims()
    set_next(provider, sign="rotated")
    with pytest.raises(CallerError, match="does not name"):
        await claims()  # the keys were fetched just now: they are not asked for with every forged token
    clock[0] += 20
    assert (await claims())["sub"] == "4711"
    await issuer.aclose()


async def test_a_login_is_used_once_by_the_browser_that_began_it(api: httpx2.AsyncClient) -> None:
    back = await begin(api)
    assert "did not begin in this browser" in (await finish(api, back, binding="c" * 43))["error"]
    assert "begin again" in (await finish(api, back))["error"]  # the attempt has used it up
    back = await begin(api)
    assert (await finish(api, {**back, "state": "made-up"}))["status"] == 401
    assert (await finish(api, {**back, "code": "made-up"}))["status"] == 401
    back = await begin(api)
    assert (await finish(api, back))["status"] == 200
    assert (await finish(api, back))["status"] == 401


async def test_a_session_that_is_none_is_refused(api: httpx2.AsyncClient) -> None:
    for token in ("ts_made-up", "ts_", "ts_" + "a" * 5000):
        assert (await who(api, token)).status_code == 401


async def test_with_a_provider_nobody_comes_in_without_a_key_or_a_login(
    settings: ControlSettings, oidc: OidcSettings
) -> None:
    """Also before there is an admin key, which would turn keys on."""
    app = build_app(replace(settings, oidc=oidc))
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8090/api/v1"
    ) as client:
        assert (await client.get("/status")).status_code == 401
        assert (await client.get("/login")).json() == {"possible": True, "issuer": oidc.issuer}
    await app.state.parts.aclose()


async def test_a_provider_that_is_away_or_somebody_else_is_said(
    settings: ControlSettings, oidc: OidcSettings
) -> None:
    for issuer, words in (
        ("http://127.0.0.1:9", "no answer"),
        (f"{oidc.issuer}/", "it calls itself"),
        (f"{oidc.issuer}/nothing", "makes no sense"),
    ):
        app = build_app(replace(settings, oidc=replace(oidc, issuer=issuer)))
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8090/api/v1"
        ) as client:
            reply = await client.post("/login", json={"binding": BINDING})
        assert (reply.status_code, reply.json()["code"]) == (502, "bad_upstream")
        assert words in reply.json()["error"]
        await app.state.parts.aclose()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"authorization_endpoint": "http://login.example.org/authorize"}, "its authorization_endpoint"),
        ({"token_endpoint": "http://login.example.org/token"}, "its token_endpoint is not an https URL"),
        ({"jwks_uri": None}, "its jwks_uri"),
        ({"padding": "x" * 300_000}, "makes no sense"),
    ],
)
async def test_a_provider_that_leads_astray_is_not_followed(
    api: httpx2.AsyncClient, provider: str, document: dict[str, Any], words: str
) -> None:
    set_next(provider, document=document)
    reply = await api.post("/login", json={"binding": BINDING})
    assert (reply.status_code, words in reply.json()["error"]) == (502, True)


async def test_the_clients_secret_is_not_sent_on_to_where_a_provider_redirects(
    api: httpx2.AsyncClient, provider: str
) -> None:
    set_next(provider, document={"token_endpoint": f"{provider}/sends-on"})
    refused = await log_in(api)
    assert (refused["status"], "status 307" in refused["error"]) == (502, True)


def test_sessions_and_logins_end_and_are_bounded(oidc: OidcSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    people = People(replace(oidc, session_s=100))
    token, _ = people.admit({"email": "ana@example.org", "groups": "ops"}, now_s=0)
    assert people.find(token, now_s=99) is not None
    assert people.find(token, now_s=100) is None
    state, _ = people.begin(BINDING, now_s=0)
    with pytest.raises(CallerError, match="begin again"):
        people.take(state, BINDING, now_s=LOGIN_S)
    first, _ = people.begin(BINDING, now_s=0)
    for _ in range(MOST_LOGINS):
        people.begin(BINDING, now_s=0)
    with pytest.raises(CallerError, match="not known"):
        people.take(first, BINDING, now_s=1)
    monkeypatch.setattr("gateway.control.access.people.MOST_SESSIONS", 2)
    ana = {"email": "ana@example.org", "groups": "ops"}
    oldest, *others = (people.admit(ana, now_s=0)[0] for _ in range(3))
    assert people.find(oldest, now_s=1) is None
    assert all(people.find(token, now_s=1) for token in others)


def test_settings_that_let_nobody_in_or_send_secrets_in_clear_are_problems(oidc: OidcSettings) -> None:
    assert problems(oidc) == []
    assert problems(OidcSettings()) == []
    for wrong, words in (
        ({"issuer": "http://login.example.org"}, "https"),
        ({"url": "http://turnout.example.org"}, "https"),
        ({"client_id": ""}, "client_id"),
        ({"roles": {}}, "nobody could log in"),
        ({"scopes": ("email",)}, "openid"),
    ):
        [problem] = problems(replace(oidc, **wrong))
        assert words in problem
