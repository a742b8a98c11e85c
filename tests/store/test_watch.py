"""The hint channel survives everything that can happen to a subscription, and never spins."""

import asyncio
import contextlib
import errno
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.store import watch as module
from gateway.store.connection import ask, connect
from gateway.store.embedded import EmbeddedServer
from gateway.store.watch import RESUMED, Watch
from tests.sockets import PATIENCE_S
from tests.store.samples import until


class Listener:
    """A running watch and what it was told."""

    def __init__(self, url: str) -> None:
        self.heard: list[bytes] = []
        self.watch = Watch(url, self.heard.append, name="listener")

    async def hears(self, client: Redis, message: str) -> None:
        """Publishes until it arrives, because a message may be lost while the link is down."""

        async def arrived() -> bool:
            await ask(client, "PUBLISH", keys.CHANGES, message)
            return message.encode() in self.heard

        await until(arrived)


@pytest.fixture
async def listener(redis_url: str) -> AsyncIterator[Listener]:
    found = Listener(redis_url)
    task = asyncio.create_task(found.watch.run(), name="watch")
    await until(lambda: found.watch.is_listening)
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_every_message_is_told_but_the_heartbeat(
    listener: Listener, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.0)
    for number in range(200):
        await ask(redis, "PUBLISH", keys.CHANGES, f"commit {number}")
    await until(lambda: listener.heard[-1] == b"commit 199")
    assert listener.heard == [RESUMED, *(b"commit %d" % number for number in range(200))]


async def test_an_idle_watch_reads_a_few_times_a_second_and_stays_subscribed(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", module.HEARTBEAT_S / 4)
    found = Listener(redis_url)
    task = asyncio.create_task(found.watch.run(), name="watch")
    began = time.monotonic()
    await until(lambda: time.monotonic() - began > 1.2 * module.SILENCE_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert found.heard == [RESUMED]
    assert found.watch.subscriptions == 1
    assert found.watch.reads < 40


async def test_a_killed_subscription_is_renewed(listener: Listener, redis: Redis) -> None:
    assert await ask(redis, "CLIENT", "KILL", "TYPE", "pubsub") == 1
    await until(lambda: listener.watch.subscriptions == 2)
    await listener.hears(redis, "commit 2")
    assert listener.heard.count(RESUMED) == 2
    assert listener.watch.reads < 50


async def test_a_restart_of_the_server_is_survived(
    listener: Listener, redis_server: EmbeddedServer, server_program: Path
) -> None:
    os.kill(redis_server.pid, signal.SIGKILL)
    redis_server.stop()
    await until(lambda: not listener.watch.is_listening)
    again = EmbeddedServer.start(redis_server.data_dir, program=server_program)
    client = connect(again.url, name="test", timeout_s=PATIENCE_S)
    try:
        await listener.hears(client, "commit 2")
        assert listener.watch.reads < 50
    finally:
        await client.aclose()
        again.stop()


async def test_a_hung_server_is_noticed_and_its_return_too(
    listener: Listener, redis_server: EmbeddedServer, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 1.0)
    os.kill(redis_server.pid, signal.SIGSTOP)
    await until(lambda: not listener.watch.is_listening)
    os.kill(redis_server.pid, signal.SIGCONT)
    client = connect(redis_url, name="test", timeout_s=PATIENCE_S)
    await listener.hears(client, "commit 2")
    await client.aclose()
    assert listener.watch.subscriptions >= 2
    assert listener.watch.reads < 50


class Relay:
    """Between client and server. Deaf connections stay open, but nothing comes through to the client."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self.answering: list[asyncio.Task[None]] = []
        self.deaf = 0

    def close_ears(self) -> None:
        self.deaf = len(self.pairs)

    async def accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        server_reader, server = await asyncio.open_unix_connection(self.target)
        number = len(self.pairs)
        self.pairs.append((client, server))
        self.answering.append(asyncio.create_task(self._answer(server_reader, client, number)))
        while data := await reader.read(65536):
            server.write(data)
        server.close()

    async def _answer(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, number: int) -> None:
        while data := await reader.read(65536):
            if number >= self.deaf:
                client.write(data)
        client.close()

    async def end(self) -> None:
        for writer in (writer for pair in self.pairs for writer in pair):
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await asyncio.gather(*self.answering)


async def test_a_deaf_link_is_renewed(
    redis_server: EmbeddedServer, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-open connections: nothing fails, nothing arrives."""
    monkeypatch.setattr(module, "SILENCE_S", 1.0)
    relay = Relay(redis_server.socket_path)
    door = await asyncio.start_unix_server(relay.accept, tmp_path / "relay.sock")
    found = Listener(f"unix://{tmp_path}/relay.sock")
    watching = asyncio.create_task(found.watch.run())
    try:
        await found.hears(redis, "commit 1")
        relay.close_ears()
        await until(lambda: found.watch.subscriptions >= 2)
        await found.hears(redis, "commit 2")
        assert found.watch.reads < 50
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        door.close()
        await relay.end()


async def test_a_link_that_the_kernel_gave_up_does_not_freeze_the_process(
    listener: Listener, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed keepalive each read ends at once in ETIMEDOUT, which redis-py takes for 'no message'."""
    real_read = asyncio.StreamReader.read
    reads = 0

    async def timed_out(self: asyncio.StreamReader, n: int = -1) -> bytes:
        nonlocal reads
        current = asyncio.current_task()
        if (
            current is None
            or current.get_name() != "watch"
            or listener.watch.subscriptions > 1
            or reads > 10_000
        ):
            return await real_read(self, n)
        reads += 1
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(asyncio.StreamReader, "read", timed_out)
    await until(lambda: not listener.watch.is_listening)
    monkeypatch.undo()
    assert 0 < reads < 30
    await listener.hears(redis, "commit 2")


async def test_watching_can_begin_before_there_is_a_server(tmp_path: Path, server_program: Path) -> None:
    found = Listener(f"unix://{tmp_path}/redis/redis.sock")
    task = asyncio.create_task(found.watch.run(), name="watch")
    for _ in range(10):
        await asyncio.sleep(0)
    server = EmbeddedServer.start(tmp_path / "redis", program=server_program)
    client = connect(server.url, name="test", timeout_s=PATIENCE_S)
    try:
        await found.hears(client, "commit 1")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.aclose()
        server.stop()


async def test_a_cancelled_watch_ends_and_leaves_no_connection(redis_url: str, redis: Redis) -> None:
    found = Listener(redis_url)
    task = asyncio.create_task(found.watch.run())
    await until(lambda: found.watch.is_listening)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def is_alone() -> bool:
        return [one["name"] for one in await redis.client_list()] == ["test"]

    await until(is_alone)
    assert not found.watch.is_listening
