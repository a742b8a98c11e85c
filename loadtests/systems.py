"""What a benchmark measures: systems that run, the scenario they run in, and the backend behind them.

The task of a scenario: send 90 % of the units to version 1 and 10 % to version 2, the same unit always to
the same version, over kept-alive connections; give every request an id; keep a record of each. With a shadow,
also send a copy of every request to version 3. `proxies` starts the systems; what one of them cannot do is
said in the README's table.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from loadtests.backend import BODY as REPLY
from loadtests.drive import BODY
from loadtests.started import StartFailed, cores, free_port, started, tail, wait_for_port

PEERS = Path(__file__).with_name("peers")
MODEL = "bench"
PATH = f"/v2/models/{MODEL}/infer"
ANSWERS_WITHIN_S = 15.0


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
    """A running system: where it answers what, its process trees by what they are, and its Redis if any."""

    name: str
    port: int
    pids: Mapping[str, int]
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


def configured(template: str, directory: Path, ports: tuple[int, int, int], **values: str) -> Path:
    """The template with every @NAME@ filled in; @ONE@ is the address of version 1, @ONE_PORT@ its port."""
    directory.mkdir(parents=True, exist_ok=True)
    text = (PEERS / template).read_text()
    for name, port in zip(("ONE", "TWO", "THREE"), ports, strict=True):
        values |= {name: f"127.0.0.1:{port}", f"{name}_PORT": str(port)}
    for name, value in {**values, "DIRECTORY": str(directory)}.items():
        text = text.replace(f"@{name}@", value)
    path = directory / template
    path.write_text(text)
    return path


def check(running: System, directory: Path, *, reply: bytes, gives_headers: bool) -> None:
    """One request by hand, before thousands are counted; `gives_headers`: version and id are in the reply."""
    body, headers = answer(running, directory)
    named = headers["turnout-version"] in ("1", "2") and headers["turnout-prediction-id"]
    if body != reply or (gives_headers and not named):
        raise StartFailed(f"{running.name} answers wrongly: {body[:200]!r} with {dict(headers)}")


def answer(running: System, directory: Path) -> tuple[bytes, Message]:
    """Body and headers of a reply, asked for until there is one: a port may be open before all is loaded."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}{running.path}",
        data=running.body.encode(),
        headers={"content-type": "application/json", "turnout-unit": "unit-000001"},
    )
    until = time.monotonic() + ANSWERS_WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                return reply.read(), reply.headers
        except OSError as error:
            if time.monotonic() > until:
                logs = "\n".join(f"{log.name}:\n{tail(log)}" for log in directory.glob("*.log"))
                raise StartFailed(f"{running.name} does not answer ({error}):\n{logs}") from None
        time.sleep(0.1)


def scratch() -> AbstractContextManager[str]:
    """A directory for logs and sockets; in memory where there is room, so that no disk is measured."""
    memory = Path("/dev/shm")
    is_roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    return tempfile.TemporaryDirectory(prefix="turnout-bench-", dir=memory if is_roomy else None)
