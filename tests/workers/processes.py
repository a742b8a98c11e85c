"""Workers and supervisors as real processes, and what tests ask of them."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson

from gateway.contract import keys
from gateway.contract.pool import Wanted
from gateway.contract.signature import Signature, TensorSpec
from gateway.contract.version import Version
from gateway.store.documents import Change, Documents
from tests.sockets import PATIENCE_S, free_port

ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Running:
    """A process of ours; `port` is 0 for a supervisor."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def said(self) -> str:
        return self.log.read_text()

    def end(self, number: int = signal.SIGTERM, *, within_s: float = PATIENCE_S) -> int:
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(within_s)

    def cleanup(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)


def start(log: Path, *arguments: str, port: int = 0) -> Running:
    """A `turnout` command that is not waited for; it dies with the tests."""
    environment = os.environ | {"TURNOUT_PARENT_PID": str(os.getpid())}
    command = [sys.executable, "-m", "gateway.cli.main", *arguments]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
    return Running(process, log, port)


def run(*arguments: str) -> tuple[int, str]:
    """A command that is expected to end by itself: its exit code and what it said."""
    command = [sys.executable, "-m", "gateway.cli.main", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    return done.returncode, done.stderr


def start_worker(directory: Path, data: bytes, *options: str, version: str = "1") -> Running:
    """A worker of a model file, ready."""
    file = directory / "model.onnx"
    file.write_bytes(data)
    port = free_port()
    worker = start(
        directory / "worker.log",
        *("worker", "--model", "m", "--version", version, "--model-file", str(file), "--port", str(port)),
        *options,
        port=port,
    )
    wait_ready(worker)
    return worker


def wait_ready(worker: Running) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        assert worker.process.poll() is None, worker.said()
        with suppress(httpx2.TransportError):
            if httpx2.get(f"{worker.url}/v2/health/ready").status_code == 200:
                return
        time.sleep(0.01)
    raise AssertionError(f"not ready: {worker.said()}")


def request(body: bytes, *, path: str = "/v2/models/m/infer", headers: dict[str, str] | None = None) -> bytes:
    """An inference request, byte for byte, as tritonclient sends it: without a content type."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"POST {path} HTTP/1.1\r\nhost: w\r\n{lines}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def infer_body(
    data: list[Any], *, name: str = "x", datatype: str = "FP32", shape: list[int] | None = None
) -> bytes:
    shape = [len(data), 1] if shape is None else shape
    return orjson.dumps({"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}]})


def store_artifact(directory: Path, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    path = directory / "sha256" / digest[:2] / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest


async def register(
    redis: Any, artifacts: Path, data: bytes, *, version: str = "1", wanted: int | None = None
) -> str:
    """The artefact in the store, the version's document (and its wanted workers) in Redis; the digest."""
    digest = store_artifact(artifacts, data)
    spec = TensorSpec(name="x", datatype="FP32", shape=(-1, 1))
    document = Version(
        model="m",
        version=version,
        digest=digest,
        size_bytes=len(data),
        signature=Signature(inputs=(spec,), outputs=(spec,)),
    )
    changes = [Change(keys.version_field("m", version), json.loads(document.model_dump_json()), None)]
    if wanted is not None:
        changes.append(want_change(version, wanted))
    await Documents(redis).commit(changes, author="test", reason="test", op_id=os.urandom(8).hex())
    return digest


def want_change(version: str, workers: int) -> Change:
    return Change(keys.wanted_field("m", version), Wanted(workers=workers).model_dump(), None)


async def want(redis: Any, version: str, workers: int) -> None:
    await Documents(redis).commit(
        [want_change(version, workers)], author="test", reason="test", op_id=os.urandom(8).hex()
    )
