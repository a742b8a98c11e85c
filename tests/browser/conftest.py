"""Chromium at the console of a real control process over a real Redis.

The workers and gateways around it are those of `tests.control.world`. On a laptop without Chromium these
tests are left out; continuous integration fails without it.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.contract import keys
from gateway.contract.pool import STAMPED_HSET
from gateway.store.connection import connect
from gateway.store.embedded import EmbeddedServer
from tests.browser.chromium import launched, program
from tests.control.world import (
    PATIENT,
    add_ready_versions,
    add_versions,
    answering_worker,
    following_gateway,
)

T = TypeVar("T")
START_S = 60.0
REPEAT_S = 1.0
expect.set_options(timeout=60_000)  # on a machine that does other work as well
ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Site:
    """A control process with its console; `call` performs something with its Redis."""

    url: str
    redis_server: EmbeddedServer
    loop: asyncio.AbstractEventLoop
    redis: Redis

    def call(self, act: Callable[[Redis], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(act(self.redis), self.loop).result(60)

    def get(self, path: str) -> Any:
        return httpx2.get(f"{self.url}/api/v1{path}", trust_env=False, timeout=60).json()

    def edit(
        self, edit: dict[str, Any], *, model: str = "digits", by: str = "ana@desk", why: str = ""
    ) -> int:
        reply = httpx2.post(
            f"{self.url}/api/v1/routes/{model}/edit",
            json={"edit": edit, "reason": why},
            headers={"x-turnout-author": by},
            trust_env=False,
            timeout=60,
        )
        assert reply.status_code == 200, reply.text
        return int(reply.json()["revision"])

    def split(self, by: str = "ana@desk", why: str = "", **weights: float) -> int:
        entries = [{"version": name.removeprefix("v"), "weight": value} for name, value in weights.items()]
        return self.edit({"kind": "split", "split": entries}, by=by, why=why)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if program() is None:
        assert os.environ.get("CI") != "true", "Chromium must be there: scripts/test installs it"
        pytest.skip("no Chromium: install Debian's package chromium")
    with sync_playwright() as playwright, launched(playwright) as started:
        yield started


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Versions 1, 2 and 3 of digits have workers, 2 one that answers; one gateway follows every commit."""
    directory = tmp_path_factory.mktemp("site")
    server = EmbeddedServer.start(directory / "redis")
    process, url = _control(server.url, directory)
    started = threading.Event()
    found: list[tuple[asyncio.AbstractEventLoop, Redis, asyncio.Event]] = []

    async def live() -> None:
        async with AsyncExitStack() as stack:
            redis = connect(server.url, name="test", timeout_s=60.0)
            stack.push_async_callback(redis.aclose)
            await add_ready_versions(redis, "1", "3")
            await add_versions(redis, "2")
            await stack.enter_async_context(answering_worker(redis, "2"))
            await stack.enter_async_context(following_gateway(redis))
            end = asyncio.Event()
            found.append((asyncio.get_running_loop(), redis, end))
            started.set()
            await _keep_workers(redis, end)

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    try:
        assert started.wait(START_S)
        loop, redis, end = found[0]
        yield Site(url, server, loop, redis)
        _end(process)
        loop.call_soon_threadsafe(end.set)
        thread.join(60)
    finally:
        _end(process)
        server.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A browser of its own; whatever goes wrong in it fails the test."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, timezone_id="Asia/Tokyo", locale="en-GB"
    )
    context.set_default_timeout(60_000)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(60)


async def _keep_workers(redis: Redis, end: asyncio.Event) -> None:
    """Says again and again that every worker lives, until the end or until Redis is gone."""
    while not end.is_set():
        with contextlib.suppress(RedisError):
            for worker_id, entry in (await redis.hgetall(keys.WORKERS)).items():
                lease = cast(bytes, entry).partition(b" ")[2]
                await redis.eval(STAMPED_HSET, 1, keys.WORKERS, worker_id, lease, "", "")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(end.wait(), REPEAT_S)


def _control(redis_url: str, directory: Path) -> tuple[subprocess.Popen[bytes], str]:
    log = directory / "control.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gateway.cli.main",
                "control",
                "--port",
                "0",
                "--artifacts",
                str(directory),
            ],
            stdout=output,
            stderr=output,
            env={**os.environ, **PATIENT, "TURNOUT_REDIS_URL": redis_url},
            cwd=ROOT,
        )
    until_s = time.monotonic() + START_S
    while True:
        said = re.search(r"control API at (http://\S+)/api/v1", log.read_text())
        if said is not None and _answers(said[1]):
            return process, said[1]
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until_s, log.read_text()
        time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", trust_env=False, timeout=10).status_code == 200
    except httpx2.TransportError:
        return False
