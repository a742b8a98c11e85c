"""Operator commands against a real control server, which runs with its fakes in a thread of its own."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn
from redis.asyncio import Redis

from gateway.cli.main import main
from gateway.control.app import build_app
from gateway.control.settings import ControlSettings
from gateway.store.connection import connect
from tests.control.world import add_ready_versions, following_gateway
from tests.sockets import PATIENCE_S

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str


@dataclass(slots=True)
class Installation:
    """A running control server; `call` performs something with its Redis in its thread."""

    url: str
    loop: asyncio.AbstractEventLoop
    redis: Redis
    folder: Path

    def call(self, act: Callable[[Redis], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(act(self.redis), self.loop).result(PATIENCE_S)


Run = Callable[..., Result]


@pytest.fixture
def installation(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """Versions 1, 2 and 3 of digits have workers, and one gateway follows every commit."""
    started: threading.Event = threading.Event()
    found: list[Installation] = []
    ending: list[asyncio.Event] = []

    async def live() -> None:
        async with AsyncExitStack() as stack:
            redis = await stack.enter_async_context(_client(redis_url))
            await add_ready_versions(redis, "1", "2", "3")
            await stack.enter_async_context(following_gateway(redis))
            settings = ControlSettings(
                redis_url=redis_url,
                artifacts_dir=tmp_path / "artifacts",
                data_dir=tmp_path,
                store_timeout_s=PATIENCE_S,
            )
            url = await stack.enter_async_context(_served(settings))
            end = asyncio.Event()
            found.append(Installation(url, asyncio.get_running_loop(), redis, tmp_path))
            ending.append(end)
            started.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    assert started.wait(PATIENCE_S)
    monkeypatch.setenv("TURNOUT_CONTROL_URL", found[0].url)
    yield found[0]
    found[0].loop.call_soon_threadsafe(ending[0].set)
    thread.join(PATIENCE_S)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `turnout` with these arguments."""

    def run_main(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run_main


@asynccontextmanager
async def _client(redis_url: str) -> AsyncIterator[Redis]:
    redis = connect(redis_url, name="test", timeout_s=PATIENCE_S)
    try:
        yield redis
    finally:
        await redis.aclose()


@asynccontextmanager
async def _served(settings: ControlSettings) -> AsyncIterator[str]:
    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            is_up.set()

    is_up = asyncio.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(uvicorn.Config(build_app(settings), log_config=None, ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await is_up.wait()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
