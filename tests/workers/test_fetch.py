"""Model files that come over HTTP: whole and right, or not at all."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.contract.errors import UpstreamError
from gateway.store.fleet import FleetStore
from tests.sockets import eventually
from tests.workers import models
from tests.workers.processes import register, start
from workers.fetch import fetch
from workers.stores.local import artifact_path

FILE = b"a model" * 1000
DIGEST = hashlib.sha256(FILE).hexdigest()


@dataclass(slots=True)
class Control:
    """What hands out files: `body` to whoever has the key."""

    body: bytes = FILE
    announced: int | None = None
    key: str = ""
    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def control() -> Iterator[Control]:
    about = Control()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            about.asked.append(self.path)
            is_known = self.headers.get("authorization", "") == (about.key and f"Bearer {about.key}")
            self.send_response(200 if is_known else 401)
            body = about.body if is_known else b"{}"
            self.send_header("content-length", str(about.announced or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        about.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield about
        server.shutdown()
        thread.join()


def fetched(control: Control, directory: Path, *, key: str = "", max_bytes: int = 10**6) -> None:
    fetch(control.url + "/x", key, digest=DIGEST, directory=directory, max_bytes=max_bytes)


def test_a_file_comes_under_its_digest(control: Control, tmp_path: Path) -> None:
    control.key = "k"
    fetched(control, tmp_path, key="k")
    assert artifact_path(tmp_path, DIGEST).read_bytes() == FILE


@pytest.mark.parametrize(
    ("change", "max_bytes", "words"),
    [
        ({"body": FILE[:-1] + b"?"}, 10**6, "was thrown away"),
        ({"body": FILE[:-1]}, 10**6, "was thrown away"),
        ({"announced": 2 * len(FILE)}, 10**6, "could not be fetched"),
        ({"body": FILE}, 100, "longer than 100 bytes"),
        ({"key": "other"}, 10**6, "answers 401 for the file"),
    ],
)
def test_what_is_not_the_registered_file_leaves_nothing_behind(
    change: dict[str, Any], max_bytes: int, words: str, control: Control, tmp_path: Path
) -> None:
    for name, value in change.items():
        setattr(control, name, value)
    with pytest.raises(UpstreamError, match=words):
        fetched(control, tmp_path, max_bytes=max_bytes)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_nobody_at_the_address_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="could not be fetched"):
        fetch("http://127.0.0.1:1/x", "", digest=DIGEST, directory=tmp_path, max_bytes=1)


async def test_a_supervisor_elsewhere_fetches_before_it_starts_a_worker(
    redis: Any, redis_url: str, tmp_path: Path, control: Control
) -> None:
    data = models.linear()
    await register(redis, tmp_path / "artifacts", data, wanted=1)
    control.body = data[:-1] + bytes([data[-1] ^ 1])
    running = start(
        tmp_path / "supervisor.log",
        *("supervisor", "--redis-url", redis_url, "--artifacts", str(tmp_path / "elsewhere")),
        *("--control-url", control.url),
    )
    fleet = FleetStore(redis)

    try:
        await eventually(lambda: "was thrown away" in running.said(), within_s=20)
        assert "was started" not in running.said()
        control.body = data
        await eventually(lambda: "is ready on" in running.said(), within_s=20)
        assert control.asked[0] == "/api/v1/models/m/versions/1/artifact"
        assert len((await fleet.workers()).leases) == 1
    finally:
        running.cleanup()
