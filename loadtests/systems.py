"""The systems under test and the backend behind them, each started with the same task.

The task: send 90 % of the units to version 1 and 10 % to version 2, the same unit always to the same version,
over kept-alive connections; give every request an id; keep a record of each. With a shadow, also send a copy
of every request to version 3.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from loadtests.backend import BODY as REPLY
from loadtests.drive import BODY
from loadtests.installation import installation
from loadtests.started import StartFailed, cores, free_port, started, tail, wait_for_port

PEERS = Path(__file__).with_name("peers")
MODEL = "bench"
PATH = f"/v2/models/{MODEL}/infer"
# What nginx needs to keep bodies of 16 MiB in memory, as Turnout does.
IN_MEMORY = (
    "client_max_body_size 32m; client_body_buffer_size 20m; proxy_buffer_size 64k; proxy_buffers 40 64k; "
    "proxy_busy_buffers_size 1m; proxy_max_temp_file_size 0;"
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """`is_foreign`: the backend is a fixed nginx reply, not the head that Turnout's workers send."""

    name: str
    systems: tuple[str, ...]
    has_shadow: bool = False
    is_foreign: bool = False
    has_large_bodies: bool = False
    reply_bytes: int = 0  # 0: the usual small reply


@dataclass(frozen=True, slots=True)
class System:
    """A running system: where it answers what, its process tree, and its Redis if it has one."""

    name: str
    port: int
    pid: int
    redis_pid: int | None = None
    path: str = PATH
    body: str = BODY


@dataclass(frozen=True, slots=True)
class Backend:
    """`ports` of versions 1, 2 and 3; `handled` counts the requests of all of them."""

    ports: tuple[int, int, int]
    pid: int
    handled: Callable[[], int]


@contextlib.contextmanager
def backend(directory: Path, *, is_foreign: bool, reply_bytes: int = 0) -> Iterator[Backend]:
    """The static model server, on the load generator's core."""
    ports = (free_port(), free_port(), free_port())
    log = directory / "backend.log"
    if is_foreign:
        config = configured("backend.conf", directory / "backend", ports, REPLY=REPLY.decode())
        command = ["nginx", "-c", str(config)]
    else:
        pairs = [f"{port}={version}" for version, port in enumerate(ports, 1)]
        size = [f"--reply-bytes={reply_bytes}"] if reply_bytes else []
        command = [sys.executable, "-m", "loadtests.backend", *size, *pairs]

    def handled() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/handled", timeout=5) as reply:
            words: list[str] = reply.read().decode().split()
        # nginx: "Active connections: A server accepts handled requests X Y Z ..."; ours: one number
        return int(words[words.index("requests") + 3]) if "requests" in words else int(words[0])

    with started(command, core=cores()[0], log=log) as pid:
        wait_for_port(ports[0], pid=pid, log=log)
        yield Backend(ports, pid, handled)


@contextlib.contextmanager
def system(name: str, scenario: Scenario, behind: Backend, directory: Path) -> Iterator[System]:
    """Start one of `nginx`, `haproxy` and `turnout`, and see that it answers."""
    starters: dict[str, Callable[[Scenario, Backend, Path], AbstractContextManager[System]]] = {
        "nginx": _nginx,
        "haproxy": _haproxy,
        "turnout": _turnout,
    }
    directory.mkdir(parents=True)
    with starters[name](scenario, behind, directory) as running:
        _check(running, directory, reply=bytes(scenario.reply_bytes) or REPLY)
        yield running


@contextlib.contextmanager
def _nginx(scenario: Scenario, behind: Backend, directory: Path) -> Iterator[System]:
    port = free_port()
    mirror = "mirror /shadow;" if scenario.has_shadow else ""
    mirror += IN_MEMORY if scenario.has_large_bodies else ""
    config = configured("nginx.conf", directory, behind.ports, PORT=str(port), MIRROR=mirror)
    log = directory / "nginx.log"
    with started(["nginx", "-c", str(config)], core=cores()[1], log=log) as pid:
        wait_for_port(port, pid=pid, log=log)
        yield System("nginx", port, pid)


@contextlib.contextmanager
def _haproxy(scenario: Scenario, behind: Backend, directory: Path) -> Iterator[System]:
    if scenario.has_shadow:
        raise StartFailed("haproxy has no shadow copies of its own")
    port = free_port()
    config = configured("haproxy.cfg", directory, behind.ports, PORT=str(port))
    log = directory / "haproxy.log"
    with started(["haproxy", "-db", "-f", str(config)], core=cores()[1], log=log) as pid:
        wait_for_port(port, pid=pid, log=log)
        yield System("haproxy", port, pid)


@contextlib.contextmanager
def _turnout(scenario: Scenario, behind: Backend, directory: Path) -> Iterator[System]:
    port, log = free_port(), directory / "gateway.log"
    with installation(
        directory / "redis",
        model=MODEL,
        ports=behind.ports,
        shadow="3" if scenario.has_shadow else None,
        is_foreign=scenario.is_foreign,
        core=cores()[0],
    ) as redis:
        command = [
            *(sys.executable, "-m", "gateway.cli.main", "gateway", "--processes", "1"),
            *("--port", str(port), "--metrics-port", str(free_port())),
            *("--redis-url", redis.url, "--data-dir", str(directory / "data")),
        ]
        with started(command, core=cores()[1], log=log) as pid:
            wait_for_port(port, pid=pid, log=log)
            yield System("turnout", port, pid, redis.pid)


def configured(template: str, directory: Path, ports: tuple[int, int, int], **values: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    text = (PEERS / template).read_text()
    for name, port in zip(("ONE", "TWO", "THREE"), ports, strict=True):
        values[name] = f"127.0.0.1:{port}"
    for name, value in {**values, "DIRECTORY": str(directory)}.items():
        text = text.replace(f"@{name}@", value)
    path = directory / template
    path.write_text(text)
    return path


def _check(running: System, directory: Path, *, reply: bytes) -> None:
    """One request by hand, before thousands are counted."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}{PATH}",
        data=BODY.encode(),
        headers={"content-type": "application/json", "turnout-unit": "unit-000001"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            body, version, prediction = answer.read(), answer.headers["turnout-version"], answer.headers
    except OSError as error:
        logs = "\n".join(f"{log.name}:\n{tail(log)}" for log in directory.glob("*.log"))
        raise StartFailed(f"{running.name} does not answer ({error}):\n{logs}") from None
    if body != reply or version not in ("1", "2") or not prediction["turnout-prediction-id"]:
        raise StartFailed(f"{running.name} answers wrongly: {body[:200]!r} with {dict(prediction)}")


def scratch() -> AbstractContextManager[str]:
    """A directory for logs and sockets; in memory where there is room, so that no disk is measured."""
    memory = Path("/dev/shm")
    is_roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    return tempfile.TemporaryDirectory(prefix="turnout-bench-", dir=memory if is_roomy else None)
