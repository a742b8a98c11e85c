"""Who may do what on the control API: once there is an admin, nothing without a key that allows it."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.cli.recover import recover_admin
from gateway.contract import keys
from gateway.contract.access import AccessSettings, Role
from gateway.contract.errors import CallerError
from gateway.control.access.roles import OPEN, ROLE_OF
from gateway.control.app import build_app
from gateway.control.settings import ControlSettings
from gateway.store.documents import Change, Documents
from gateway.store.exposure import closed_access
from tests.control.world import add_ready_versions, document, split

EDIT = {"edit": {"kind": "split", "split": split(("1", 100))}}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def make(api: httpx2.AsyncClient, name: str, role: str, by: str = "", **wish: Any) -> Any:
    """A new key: the whole answer."""
    reply = await api.post(
        "/keys", json={"name": name, "role": role, **wish}, headers=bearer(by) if by else {}
    )
    assert reply.status_code == 201, reply.text
    return reply.json()


@pytest.fixture
async def admin(api: httpx2.AsyncClient) -> str:
    """The first admin's key: from here on keys are on."""
    return str((await make(api, "root", "admin"))["key"])


async def test_doctor_tells_admins_alone_which_keys_end_soon(api: httpx2.AsyncClient, admin: str) -> None:
    viewer = str((await make(api, "eve", "viewer", admin))["key"])
    some = str((await make(api, "sam", "viewer", admin, models=["digits"]))["key"])
    await make(api, "ci", "operator", admin, expires_in_s=3600)

    async def checks(key: str) -> set[str]:
        reply = await api.get("/doctor", headers=bearer(key))
        assert reply.status_code == 200
        return {finding["check"] for finding in reply.json()["findings"]}

    assert "key_expires" in await checks(admin)
    assert "key_expires" not in await checks(viewer)
    assert (await api.get("/doctor", headers=bearer(some))).status_code == 403
    assert (await api.get("/overview", headers=bearer(some))).json()["models"] == []


@asynccontextmanager
async def another(settings: ControlSettings) -> AsyncIterator[httpx2.AsyncClient]:
    """One more control process of the same installation."""
    app = build_app(settings)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8090/api/v1"
    ) as client:
        yield client
    await app.state.parts.aclose()


def addresses(settings: ControlSettings) -> set[tuple[str, str]]:
    """Every method and path that the application serves."""
    app = build_app(settings)
    documented = {
        (method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods
    }
    plain = {
        (method, route.path)
        for route in app.routes
        if hasattr(route, "path")
        for method in route.methods  # type: ignore[attr-defined]
    }
    return documented | plain


def test_every_address_has_a_role_and_every_role_an_address(settings: ControlSettings) -> None:
    assert addresses(settings) == set(ROLE_OF)


async def test_without_keys_everybody_may_do_everything(api: httpx2.AsyncClient) -> None:
    me = (await api.get("/whoami")).json()
    assert (me["keys_are_on"], me["role"]) == (False, "admin")
    await make(api, "app", "client")  # keys below admin change nothing
    assert (await api.get("/routes")).status_code == 200


async def test_the_first_admin_key_turns_keys_on_for_everybody(api: httpx2.AsyncClient, admin: str) -> None:
    refused = await api.get("/routes")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.headers["content-type"] == "application/problem+json"
    assert "TURNOUT_KEY" in refused.json()["detail"]
    assert (await api.get("/routes", headers=bearer(admin))).status_code == 200
    assert (await api.get("http://127.0.0.1:8090/healthz")).status_code == 200


async def test_every_address_refuses_the_roles_below_its_own_and_lets_in_the_others(
    api: httpx2.AsyncClient, admin: str
) -> None:
    token = {role: (await make(api, f"a-{role}", role, by=admin))["key"] for role in Role}
    for (method, path), needed in ROLE_OF.items():
        address = "http://127.0.0.1:8090" + re.sub(
            r"\{(\w+)\}", lambda found: "1" if found[1] == "revision" else "0123456789", path
        )
        json = {"content-type": "application/json", "last-event-id": "none: no stream is wanted"}
        seen = {
            role: (await api.request(method, address, headers=json | bearer(key))).status_code
            for role, key in token.items()
        }
        nobody = (await api.request(method, address, headers=json)).status_code
        assert (nobody == 401) == (needed is not OPEN), (method, path)
        for role, status in seen.items():
            is_in = needed is OPEN or role.includes(needed)
            assert (status not in (401, 403)) == is_in, (method, path, role, status)


async def test_a_role_is_checked_before_one_byte_of_the_body_is_read(
    settings: ControlSettings, api: httpx2.AsyncClient, admin: str
) -> None:
    key = (await make(api, "watcher", "viewer", by=admin))["key"]
    sent: list[Any] = []

    async def receive() -> Any:
        pytest.fail("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    app = build_app(settings)
    headers = [
        (b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", b"4000000"),
    ]  # fmt: skip
    for authorization, status in ((b"Bearer " + key.encode(), 403), (b"Bearer nonsense", 401)):
        scope = {
            "type": "http", "method": "POST", "path": "/api/v1/apply", "raw_path": b"/api/v1/apply",
            "query_string": b"", "headers": [*headers, (b"authorization", authorization)],
        }  # fmt: skip
        await app(scope, receive, send)
        assert sent[-2]["status"] == status
    await app.state.parts.aclose()


async def test_what_is_not_in_the_table_is_not_served(api: httpx2.AsyncClient, admin: str) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("PUT", "/routes", 405), ("GET", "/models/", 404)):
        sent = {"content-type": "application/json"} | bearer(admin)
        assert (await api.request(method, path, headers=sent)).status_code == status


async def test_a_change_is_by_the_key_and_not_by_who_is_claimed(
    api: httpx2.AsyncClient, admin: str, redis: Redis
) -> None:
    await add_ready_versions(redis, "1")
    made = await make(api, "deploy", "operator", by=admin)
    headers = bearer(made["key"]) | {"x-turnout-author": "boss", "x-request-id": "req-7"}
    done = await api.post("/routes/digits/edit", json=EDIT, headers=headers)
    assert (done.status_code, done.headers["x-request-id"]) == (200, "req-7")
    entry = (await api.get("/audit", headers=bearer(admin))).json()["entries"][0]
    assert (entry["author"], entry["key_id"], entry["request_id"]) == ("deploy", made["key_id"], "req-7")


async def test_a_scope_holds_for_paths_bodies_and_lists(
    api: httpx2.AsyncClient, admin: str, redis: Redis
) -> None:
    for model in ("digits", "fraud"):
        await add_ready_versions(redis, "1", model=model)
        done = await api.post("/apply", json={"documents": [document(model)]}, headers=bearer(admin))
        assert done.status_code == 200
    mine = bearer((await make(api, "digits-team", "operator", by=admin, models=["digits"]))["key"])
    assert (await api.get("/routes/digits", headers=mine)).status_code == 200
    other = await api.get("/routes/fraud", headers=mine)
    assert (other.status_code, other.json()["code"]) == (403, "forbidden")
    both = {"documents": [document("digits", (("1", 100),), timeout_s=9), document("fraud", timeout_s=9)]}
    for path in ("/apply", "/diff"):
        assert (await api.post(path, json=both, headers=mine)).status_code == 403
    assert [item["model"] for item in (await api.get("/routes", headers=mine)).json()["routes"]] == ["digits"]
    assert [item["model"] for item in (await api.get("/export", headers=mine)).json()["documents"]] == [
        "digits"
    ]
    assert [item["model"] for item in (await api.get("/models", headers=mine)).json()["models"]] == ["digits"]
    assert {item["model"] for item in (await api.get("/pools", headers=mine)).json()["pools"]} == {"digits"}
    fields = {
        change["field"]
        for entry in (await api.get("/audit", headers=mine)).json()["entries"]
        for change in entry["changes"]
    }
    assert fields == {"route/digits", "version/digits/1"}
    at = {"at_ms": time.time_ns() // 1_000_000}
    live = (await api.get("/audit/at", params=at, headers=mine)).json()["routes"]
    assert [route["model"] for route in live] == ["digits"]
    assert (await api.get("/audit/export", headers=mine)).status_code == 403


async def test_an_expired_or_revoked_key_is_as_wrong_as_any(api: httpx2.AsyncClient, admin: str) -> None:
    short = await make(api, "short", "viewer", by=admin, expires_in_s=0.001)
    gone = await make(api, "gone", "viewer", by=admin)
    assert (await api.get("/routes", headers=bearer(gone["key"]))).status_code == 200
    await api.delete(f"/keys/{gone['key_id']}", headers=bearer(admin) | {"content-type": "application/json"})
    wrong = await api.get("/routes", headers=bearer("tk_0123456789_" + "x" * 43))
    for key in (short["key"], gone["key"], gone["key"][:-1] + "~", "x", "x" * 5000):
        reply = await api.get("/routes", headers=bearer(key))
        assert (reply.status_code, reply.content) == (401, wrong.content)


async def test_a_wrong_key_a_thousand_times_gets_one_answer_and_is_counted(
    api: httpx2.AsyncClient, admin: str
) -> None:
    secret = admin[:-5]
    answers = set()
    for number in range(1000):
        reply = await api.get("/routes", headers=bearer(f"{secret}{number:05}"))
        answers.add((reply.status_code, reply.content))
    assert len(answers) == 1
    assert (await api.get("/keys", headers=bearer(admin))).json()["failed_calls"] == 1000


async def test_a_key_is_shown_once_and_its_secret_stored_nowhere(
    api: httpx2.AsyncClient, admin: str, redis: Redis
) -> None:
    secret = admin[len("tk_0123456789_") :].encode()
    listed = await api.get("/keys", headers=bearer(admin))
    assert secret not in listed.content
    assert "digest" not in listed.text
    for key in await redis.keys("*"):
        dump = await redis.dump(key)
        assert dump is not None
        assert secret not in dump


async def test_a_key_in_a_url_is_refused_with_a_sentence(api: httpx2.AsyncClient, admin: str) -> None:
    for query in (f"x={admin}", "api_key=1", "access_token=1", "key=1"):
        reply = await api.get(f"/routes?{query}", headers=bearer(admin))
        assert reply.status_code == 400
        assert "Authorization: Bearer" in reply.json()["error"]
        assert admin not in reply.text


async def test_the_last_admin_key_cannot_be_revoked(api: httpx2.AsyncClient, admin: str) -> None:
    headers = bearer(admin) | {"content-type": "application/json"}
    await make(api, "short-admin", "admin", by=admin, expires_in_s=0.001)
    mine = admin[3:13]
    refused = await api.delete(f"/keys/{mine}", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "refused")
    second = await make(api, "second", "admin", by=admin)
    assert (await api.delete(f"/keys/{mine}", headers=headers)).status_code == 200
    assert (await api.get("/keys", headers=bearer(second["key"]))).status_code == 200


async def test_two_admins_cannot_lock_each_other_out_at_once(api: httpx2.AsyncClient, admin: str) -> None:
    for round_ in range(5):
        second = await make(api, f"second-{round_}", "admin", by=admin)
        json = {"content-type": "application/json"}
        replies = await asyncio.gather(
            api.delete(f"/keys/{second['key_id']}", headers=bearer(admin) | json),
            api.delete(f"/keys/{admin[3:13]}", headers=bearer(second["key"]) | json),
        )
        assert any(reply.status_code != 200 for reply in replies)
        admin = admin if (await api.get("/keys", headers=bearer(admin))).status_code == 200 else second["key"]
        assert (await api.get("/keys", headers=bearer(admin))).status_code == 200


async def test_wishes_that_make_no_sense_are_refused(api: httpx2.AsyncClient, admin: str) -> None:
    for wish in (
        {"name": "a", "role": "admin", "models": ["digits"]},
        {"name": "a", "role": "boss"},
        {"name": "a b", "role": "viewer"},
        {"name": "a", "role": "viewer", "models": []},
        {"name": "a", "role": "viewer", "models": ["No!"]},
        {"name": "a", "role": "client", "rate_per_s": 0},
        {"name": "a", "role": "client", "expires_in_s": -1},
    ):
        assert (await api.post("/keys", json=wish, headers=bearer(admin))).status_code == 422
    again = await api.post("/keys", json={"name": "root", "role": "admin"}, headers=bearer(admin))
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


async def test_access_edited_into_nonsense_opens_nothing(
    api: httpx2.AsyncClient, admin: str, redis: Redis
) -> None:
    for nonsense in (
        "{}",
        "[]",
        "x",
        '{"field":"access","revision":1,"at_ms":1,"author":"","reason":"","doc":{}}',
    ):
        await redis.hset(keys.DOCUMENTS, keys.ACCESS_FIELD, nonsense)
        assert (await api.get("/routes")).status_code == 401
        assert (await api.get("/routes", headers=bearer(admin))).status_code == 200


async def test_a_recovered_admin_gets_in_and_the_audit_names_it(
    api: httpx2.AsyncClient, admin: str, redis_url: str
) -> None:
    key = await asyncio.to_thread(recover_admin, redis_url, "rescue")
    entry = (await api.get("/audit", headers=bearer(key))).json()["entries"][0]
    assert entry["author"].startswith("recovery/")
    with pytest.raises(CallerError, match="no name"):
        await asyncio.to_thread(recover_admin, redis_url, "no name")


async def test_required_on_needs_a_key_from_the_start_and_off_never(
    settings: ControlSettings, redis_url: str
) -> None:
    async with another(replace(settings, access=AccessSettings(required="on"))) as closed:
        assert (await closed.get("/routes")).status_code == 401
        key = await asyncio.to_thread(recover_admin, redis_url, "first")
        assert (await closed.get("/routes", headers=bearer(key))).status_code == 200
    async with another(replace(settings, access=AccessSettings(required="off"))) as opened:
        assert (await opened.get("/routes")).status_code == 200


async def test_a_proxy_is_believed_beside_its_secret_only(
    settings: ControlSettings, api: httpx2.AsyncClient, admin: str, redis: Redis
) -> None:
    await add_ready_versions(redis, "1")
    access = AccessSettings(
        proxy_header="x-user", proxy_secret="s3cret", proxy_roles={"ana": Role.OPERATOR, "*": Role.VIEWER}
    )
    ana = {"x-user": "ana", "turnout-proxy-secret": "s3cret"}
    async with another(replace(settings, access=access)) as proxied:
        assert (await proxied.post("/routes/digits/edit", json=EDIT, headers=ana)).status_code == 200
        entry = (await proxied.get("/audit", headers=ana)).json()["entries"][0]
        assert (entry["author"], entry["key_id"]) == ("ana", "proxy")
        bob = ana | {"x-user": "bob"}
        assert (await proxied.get("/routes", headers=bob)).status_code == 200
        assert (await proxied.post("/routes/digits/edit", json=EDIT, headers=bob)).status_code == 403
        for headers in ({"x-user": "ana"}, ana | {"turnout-proxy-secret": "s3cre"}, {"x-user": ""}):
            assert (await proxied.get("/routes", headers=headers)).status_code == 401
        assert (
            await proxied.get("/routes", headers=ana | {"x-user": "ana\tb"})
        ).status_code == 403  # no name
        for twice in ("x-user", "turnout-proxy-secret"):  # two programs could choose differently
            both = [*ana.items(), (twice, ana[twice])]
            assert (await proxied.get("/routes", headers=both)).status_code == 401
        assert (await proxied.get("/routes", headers=ana | bearer("wrong"))).status_code == 401
    async with another(replace(settings, access=replace(access, proxy_secret=""))) as without:
        for headers in ({"x-user": "ana"}, ana | {"turnout-proxy-secret": ""}, ana):
            assert (await without.get("/routes", headers=headers)).status_code == 401
    assert (await api.get("/routes", headers=ana)).status_code == 401  # this process trusts no proxy


async def test_the_last_use_of_a_key_is_told(api: httpx2.AsyncClient, admin: str) -> None:
    before_ms = time.time_ns() // 1_000_000
    await make(api, "unused", "viewer", by=admin)
    used = {
        item["name"]: item["used_ms"]
        for item in (await api.get("/keys", headers=bearer(admin))).json()["keys"]
    }
    assert used["unused"] is None
    assert used["root"] >= before_ms - 60_000


async def test_an_open_address_needs_an_admin_key(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    def closed(required: str, *, url: str = redis_url, **how: Any) -> str:
        access = AccessSettings(required=required)  # type: ignore[arg-type]
        return closed_access(
            access, host=how.pop("host", "0.0.0.0"), redis_url=url, allow_open=how.pop("allow", False), **how
        ).required

    async def tried(required: str, **how: Any) -> str:
        return await asyncio.to_thread(closed, required, **how)

    away = f"unix://{tmp_path}/none.sock"
    for required, how in (("auto", {}), ("off", {}), ("auto", {"url": away})):
        with pytest.raises(CallerError, match="--allow-unauthenticated"):
            await tried(required, **how)
    assert await tried("auto", host="127.0.0.1") == "auto"
    assert await tried("off", allow=True) == "off"
    assert await tried("on", url=away) == "on"
    assert await tried("auto", url=away, was_closed=True) == "on"
    change = Change(keys.ACCESS_FIELD, {"admins": 1}, None)
    await Documents(redis).commit([change], author="t", reason="", op_id="1")
    assert await tried("auto") == "on"
