"""What comes near the control API at all, and what it says when Redis is away."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.control.settings import ControlSettings
from gateway.store.embedded import EmbeddedServer
from tests.control.world import document, split
from tests.sockets import PATIENCE_S

EDIT = {"edit": {"kind": "split", "split": split(("1", 100))}}
PREDICTION = "/models/digits/predictions/0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> ControlSettings:
    """As an operator runs it."""
    return ControlSettings(redis_url=redis_url, artifacts_dir=tmp_path)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "a@127.0.0.1", "127.0.0.1:x", ""])
async def test_a_foreign_host_is_refused(api: httpx2.AsyncClient, host: str) -> None:
    reply = await api.get("/models", headers={"host": host})
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_request")


async def test_two_hosts_are_none(api: httpx2.AsyncClient) -> None:
    for second in ("evil.example", "127.0.0.1"):
        reply = await api.get("/models", headers=[("host", "127.0.0.1"), ("host", second)])
        assert (reply.status_code, reply.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("host", ["localhost:8090", "LOCALHOST", "127.0.0.1", "[::1]:8090"])
async def test_the_names_of_loopback_are_served(api: httpx2.AsyncClient, host: str) -> None:
    assert (await api.get("/models", headers={"host": host})).status_code == 200


async def test_a_page_of_another_site_cannot_call(api: httpx2.AsyncClient) -> None:
    reply = await api.get("/models", headers={"origin": "https://evil.example"})
    assert (reply.status_code, reply.json()["code"]) == (403, "refused")
    own = await api.get("/models", headers={"origin": "http://127.0.0.1:8090"})
    assert own.status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_change_must_come_as_json(api: httpx2.AsyncClient, kind: str) -> None:
    reply = await api.post("/routes/digits/edit", content=b"{}", headers={"content-type": kind})
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")


async def test_a_compressed_body_is_refused(api: httpx2.AsyncClient) -> None:
    reply = await api.post("/routes/digits/edit", json=EDIT, headers={"content-encoding": "gzip"})
    assert reply.status_code == 415


@pytest.mark.parametrize("author", ["", "x" * 129, "a\x07b"])
async def test_an_author_must_be_readable(api: httpx2.AsyncClient, author: str) -> None:
    reply = await api.post("/routes/digits/edit", json=EDIT, headers={"x-turnout-author": author})
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/models/", 404, "not_found"),
        ("DELETE", "/models", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there_is_answered_in_the_same_form(
    api: httpx2.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    reply = await api.request(method, path, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.json()["error"]


CALLS: list[tuple[str, str, Any]] = [
    ("GET", "/status", None),
    ("GET", "/routes", None),
    ("GET", "/routes/digits", None),
    ("GET", "/routes/digits/history", None),
    ("GET", "/export", None),
    ("GET", "/models", None),
    ("GET", "/models/digits", None),
    ("GET", "/models/digits/versions/1", None),
    ("GET", "/models/digits/compare", None),
    ("GET", PREDICTION, None),
    ("GET", "/pools", None),
    ("GET", "/gateways", None),
    ("GET", "/audit", None),
    ("POST", "/routes/digits/edit", EDIT),
    ("POST", "/apply", {"documents": [document()]}),
    ("POST", "/diff", {"documents": [document()]}),
    ("POST", "/models/digits/cutover", {"to": "2"}),
    ("PUT", "/models/digits/versions/1/workers", {"workers": 1}),
]


async def until_it_answers(api: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await api.get("/status")).status_code != 200:
            pass


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
async def test_without_redis_every_call_says_so_and_none_waits_for_it(
    api: httpx2.AsyncClient, redis_server: EmbeddedServer, fault: signal.Signals
) -> None:
    await until_it_answers(api)
    os.kill(redis_server.pid, fault)
    try:
        for method, path, body in CALLS:
            async with asyncio.timeout(PATIENCE_S):
                reply = await api.request(method, path, json=body)
            assert (reply.status_code, reply.json()["code"]) == (503, "store_away"), path
            assert reply.headers["retry-after"]
        assert (await api.get("http://127.0.0.1:8090/healthz")).status_code == 200
    finally:
        if fault == signal.SIGSTOP:
            os.kill(redis_server.pid, signal.SIGCONT)


async def test_redis_that_comes_back_is_found_again(
    api: httpx2.AsyncClient, redis_server: EmbeddedServer
) -> None:
    os.kill(redis_server.pid, signal.SIGSTOP)
    assert (await api.get("/status")).status_code == 503
    os.kill(redis_server.pid, signal.SIGCONT)
    await until_it_answers(api)
