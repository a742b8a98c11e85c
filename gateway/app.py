"""All of Turnout on one machine: what it consists of, in which order it starts and ends.

Redis first and last, because everything else keeps what it must not lose there: control, then the supervisor
with the workers, then the gateway, then traffic; the end is the other way round, so that a request in flight
always finds what it needs. Commands and their addresses are put together here, and only here. Called by
`turnout up`.
"""

import fcntl
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from gateway.children import Child, Kept, Program, Say, rotate, tail
from gateway.contract.errors import CallerError, TurnoutError
from gateway.settings import DEFAULT_DATA_DIR, Settings, embedded_redis_url
from gateway.store.embedded import EmbeddedServer

READY_S = 90.0  # for each process; one that ends is told at once, and a busy machine takes long to load one
TEND_S = 0.2
PORT_PATIENCE_S = 2.0  # what a gateway whose parent was killed needs to let go of its port
# How long each may take to end in good order.
TRAFFIC_STOP_S = 5.0
GATEWAY_STOP_S = 40.0  # its own drain takes at most 30 s and a grace
SUPERVISOR_STOP_S = 45.0  # its workers drain for up to 35 s
CONTROL_STOP_S = 10.0
LOGS = ("control", "supervisor", "gateway", "traffic")


class Ended(Exception):
    """Somebody asked to stop while something was waited for."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installation lives. A port of 0 becomes a free one (`settle`); no `redis_url`: our own."""

    data_dir: Path
    host: str
    port: int
    control_port: int
    metrics_port: int
    processes: int
    redis_url: str | None
    config: Path | None

    @property
    def gateway_url(self) -> str:
        return f"http://{_bracketed(self.host)}:{self.port}"

    @property
    def control_url(self) -> str:
        return f"http://{_bracketed(self.host)}:{self.control_port}"

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "logs"


def place_of(settings: Settings, config: Path | None) -> Place:
    """Raises CallerError("refused") for an address that others can reach: its workers have no keys."""
    if not settings.control.is_loopback:
        raise CallerError(
            "refused",
            f"{settings.control.host} can be reached from elsewhere, and `turnout up` is for this machine: "
            "use 127.0.0.1 and a proxy in front of it, or run `turnout control` and `gateway` yourself.",
        )
    data_dir = settings.data_dir.absolute()
    # A file of settings that spells out the default still means our own, wherever the data lie.
    is_embedded = settings.redis_url in (embedded_redis_url(data_dir), embedded_redis_url(DEFAULT_DATA_DIR))
    return Place(
        data_dir=data_dir,
        host=settings.control.host,
        port=settings.gateway.port,
        control_port=settings.control.port,
        metrics_port=settings.gateway.metrics_port,
        processes=settings.gateway.processes,
        redis_url=None if is_embedded else settings.redis_url,
        config=None if config is None else config.absolute(),
    )


@dataclass(slots=True)
class Installation:
    """`start`, then `watch`, and `stop` whatever happens. `should_end` is asked all the time."""

    place: Place
    say: Say
    should_end: Callable[[], bool]
    kept: list[Kept[Any]] = field(default_factory=list)
    redis_url: str = ""
    _lock: int = -1

    def start(self) -> None:
        """Redis, control, supervisor, gateway: each is ready before the next starts."""
        self._lock = take_directory(self.place.data_dir)
        self.place = settle(self.place)
        rotate(self.place.log_dir, LOGS)
        self._start_redis()
        os.environ["TURNOUT_REDIS_URL"] = self.redis_url  # not an argument: `ps` would show its password
        os.environ["TURNOUT_DATA_DIR"] = str(self.place.data_dir)  # model files lie below it
        place = self.place
        control = self._keep(
            "control",
            *("--host", place.host, "--port", str(place.control_port)),
            *("--data-dir", str(place.data_dir)),
            stop_s=CONTROL_STOP_S,
        )
        self._wait_for(control, f"{place.control_url}/api/v1/status")
        self._keep("supervisor", stop_s=SUPERVISOR_STOP_S)
        gateway = self._keep(
            "gateway",
            *("--host", place.host, "--port", str(place.port), "--metrics-port", str(place.metrics_port)),
            *("--processes", str(place.processes)),
            *("--data-dir", str(place.data_dir)),
            stop_s=GATEWAY_STOP_S,
        )
        self._wait_for(gateway, f"{place.gateway_url}/v2/health/ready")

    def start_traffic(self, *arguments: str) -> None:
        self._keep(
            "traffic", "demo", "traffic", "--url", self.place.gateway_url, *arguments, stop_s=TRAFFIC_STOP_S
        )

    def wait_until(self, is_so: Callable[[], bool], *, limit_s: float) -> bool:
        """Tends the children meanwhile; False when it is not so in time."""
        until_s = time.monotonic() + limit_s
        while not is_so():
            if time.monotonic() > until_s:
                return False
            self._tend()
        return True

    def watch(self) -> None:
        """Returns when it is time to end."""
        try:
            while True:
                self._tend()
        except Ended:
            return

    def stop(self) -> None:
        """The last started ends first. What it recorded is in Redis before Redis ends."""
        while self.kept:
            self.kept.pop().stop()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _tend(self) -> None:
        if self.should_end():
            raise Ended
        for kept in self.kept:
            kept.tend(self.say)
        time.sleep(TEND_S)

    def _tend_the_others(self) -> None:
        """While Redis, the first of them, starts: it may have much to load."""
        if self.should_end():
            raise Ended
        for kept in self.kept[1:]:
            kept.tend(self.say)

    def _start_redis(self) -> None:
        if self.place.redis_url is not None:
            self.redis_url = self.place.redis_url
            return
        redis_dir = self.place.data_dir / "redis"
        redis = Kept("redis", lambda: EmbeddedServer.start(redis_dir, meanwhile=self._tend_the_others))
        self.redis_url = redis.running.url
        self.kept.append(redis)

    def _keep(self, name: str, *arguments: str, stop_s: float) -> Kept[Child]:
        config = () if self.place.config is None else ("--config", str(self.place.config))
        command = arguments if name == "traffic" else (name, *config, *arguments)
        program = Program(name, command, self.place.log_dir, stop_s)
        kept = Kept(name, program.start)
        self.kept.append(kept)
        return kept

    def _wait_for(self, kept: Kept[Child], url: str) -> None:
        """Raises TurnoutError with the child's last lines when it ends or is not ready in time."""
        child = kept.running
        until_s = time.monotonic() + READY_S
        said = "nothing"
        while True:
            if self.should_end():
                raise Ended
            if not child.is_alive():
                raise _failed(child, f"ended at once ({child.how_it_ended()})")
            status, said = ask(url)
            if status in (200, 401):  # 401: keys are on, so it serves and Redis has answered it
                return
            if time.monotonic() > until_s:
                raise _failed(child, f"is not ready after {READY_S:.0f} s; {url} says: {said}")
            time.sleep(0.05)


def ask(url: str) -> tuple[int, str]:
    """Status and text of one GET; status 0 when nobody answers."""
    try:
        reply = httpx2.get(url, timeout=2.0, trust_env=False)
    except httpx2.TransportError as error:
        return 0, type(error).__name__
    return reply.status_code, reply.text[:300]


def take_directory(data_dir: Path) -> int:
    """Makes the data directory and locks it for one `turnout up`; the lock ends with this process."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TurnoutError(
            "not_ready",
            f"{data_dir} cannot be written ({error.strerror}): give a --data-dir that you own.",
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 16, 0).decode(errors="replace").strip() or "just starting"
        os.close(lock)
        raise TurnoutError(
            "not_ready",
            f"another `turnout up` (process {owner}) uses {data_dir}: stop it, or give another --data-dir.",
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def settle(place: Place) -> Place:
    """Checks that every port is free before anything starts, and chooses one for each 0."""
    options = {"port": "--port", "control_port": "--control-port", "metrics_port": "--metrics-port"}
    ports: dict[str, Any] = {}
    held = []
    until_s = time.monotonic() + PORT_PATIENCE_S
    try:
        for name, option in options.items():
            sock = _bind(place.host, getattr(place, name), option=option, until_s=until_s)
            held.append(sock)
            ports[name] = sock.getsockname()[1]
    finally:
        for sock in held:
            sock.close()
    return Place(**{field: getattr(place, field) for field in Place.__slots__} | ports)


def _bind(host: str, port: int, *, option: str, until_s: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        sock = socket.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
            return sock
        except OSError as error:
            sock.close()
            if time.monotonic() > until_s:
                raise TurnoutError(
                    "not_ready",
                    f"cannot listen on {host}:{port} ({error.strerror}): end what uses it, or give another "
                    f"{option}.",
                ) from None
        time.sleep(0.1)


def _failed(child: Child, why: str) -> TurnoutError:
    lines = "\n  ".join(tail(child.program.log_path))
    return TurnoutError(
        "internal", f"{child.program.name} {why}. Its log, {child.program.log_path}, ends:\n  {lines}"
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
