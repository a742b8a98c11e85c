"""A program: registers one model again and again, with the control process killed at its n-th step.

    python -m tests.faults.killed_register REDIS_URL FOLDER

A step is anything that the process does to a file of the store, and the moments before and after each commit.
A forked child serves the control API and gets SIGKILL at its n-th step; then another child serves, and the
registration is repeated. The parent prints, as one JSON line for each n, what was there in between. It ends
with a child that was done before its n-th step; before the first, one is killed in the middle of the file.
"""

import asyncio
import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI
from redis import Redis
from redis.asyncio.client import Pipeline

from gateway.contract import keys
from gateway.control.app import build_app
from gateway.control.settings import ControlSettings
from tests.control.test_models import model_file
from workers.artifact import inspect

DATA = model_file(width=7)
DIGEST = hashlib.sha256(DATA).hexdigest()
PATIENCE_S = 60.0
FILE_EVENTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.utime", "os.link"})


def die_at(step: int, folder: Path, told: int) -> None:
    """SIGKILL instead of the n-th step, whose name is written to `told` first."""
    steps = 0

    def count(name: str) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            os.write(told, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def of_a_file(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FILE_EVENTS and str(arguments[0]).startswith(str(folder)):
            count(event)

    execute = Pipeline.execute

    async def commit(self: Any, *arguments: Any, **options: Any) -> Any:
        count("before commit")
        result = await execute(self, *arguments, **options)
        count("after commit")
        return result

    Pipeline.execute = commit  # type: ignore[method-assign]
    sys.addaudithook(of_a_file)


def made(url: str, folder: Path) -> FastAPI:
    """Connects nothing yet, and so is made once, before the children are forked."""
    return build_app(
        ControlSettings(
            redis_url=url, artifacts_dir=folder, data_dir=folder.parent, store_timeout_s=PATIENCE_S
        )
    )


def serve(app: FastAPI, listening: socket.socket) -> None:
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


@contextmanager
def control(
    app: FastAPI, folder: Path, *, step: int | None = None
) -> Iterator[tuple[int, int, Callable[[], str]]]:
    """Process id and port of a child that serves, and what says where it died."""
    reading, writing = os.pipe()
    listening = socket.create_server(("127.0.0.1", 0))
    pid = os.fork()
    if pid == 0:
        try:
            if step is not None:
                die_at(step, folder, writing)
            serve(app, listening)
        finally:
            os._exit(1)
    os.close(writing)
    port = listening.getsockname()[1]
    listening.close()
    try:
        yield pid, port, lambda: os.read(reading, 100).decode()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)


def register(port: int) -> int | None:
    """The last status; None where the process went away."""
    headers = {"content-type": "application/octet-stream"}
    base = f"http://127.0.0.1:{port}/api/v1"
    with httpx2.Client(base_url=base, timeout=PATIENCE_S, trust_env=False) as client:
        try:
            sent = client.post("/artifacts", content=DATA, headers=headers)
            if sent.status_code != 201:
                return int(sent.status_code)
            put = client.put("/models/digits/versions/1", json={"digest": DIGEST})
            if put.status_code in (200, 201):
                assert client.get("/models/digits/versions/1/artifact").content == DATA
            return int(put.status_code)
        except httpx2.TransportError:
            return None


def die_in_the_file(app: FastAPI, folder: Path) -> str:
    """Half of the file is on the disk when SIGKILL comes."""
    with control(app, folder) as (_, port, _), socket.create_connection(("127.0.0.1", port)) as sending:
        head = (
            "POST /api/v1/artifacts HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"content-type: application/octet-stream\r\ncontent-length: {2 << 20}\r\n\r\n"
        )
        sending.sendall(head.encode() + bytes(1 << 20))
        until_s = time.monotonic() + PATIENCE_S
        while not any(path.stat().st_size for path in folder.glob("partial/*")):
            assert time.monotonic() < until_s
            time.sleep(0.005)
    return "in the file"


def found(redis: Redis, folder: Path) -> dict[str, Any]:
    """What is there; whatever lies under a digest is whole."""
    kept = list(folder.glob("sha256/*/*"))
    return {
        "is_whole": all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in kept),
        "file": [path.name for path in kept] == [DIGEST],
        "version": bool(redis.hexists(keys.DOCUMENTS, keys.version_field("digits", "1"))),
        "wanted": bool(redis.hexists(keys.DOCUMENTS, keys.wanted_field("digits", "1"))),
        "partial": len([*folder.glob("partial/*")]),
    }


def main(url: str, folder: Path) -> None:
    inspect(DATA)  # what it loads is loaded before the children are forked
    redis = Redis(unix_socket_path=url.removeprefix("unix://"))
    app, step, died = made(url, folder), 0, "at first"
    while died:
        redis.flushdb()
        shutil.rmtree(folder, ignore_errors=True)
        if step == 0:
            died, status = die_in_the_file(app, folder), None
        else:
            with control(app, folder, step=step) as (_, port, where):
                status = register(port)
                died = where() if status is None else ""
        between = found(redis, folder)
        with control(app, folder) as (_, port, _):
            again = register(port)
        line = {"died": died, "status": status, **between, "again": again, "after": found(redis, folder)}
        print(json.dumps(line), flush=True)
        step += 1
    redis.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
