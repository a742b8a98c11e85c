"""Control killed at any moment of making and revoking keys: whole or not at all, and nobody locked out."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.access import Role
from gateway.contract.errors import TurnoutError
from gateway.control.access.door import turns_on
from gateway.control.access.key_changes import all_keys
from gateway.control.audit.heads import Heads
from gateway.control.audit.questions import verify
from gateway.store.audit import AuditStream
from gateway.store.documents import Change, Documents
from tests.control.world import PATIENT
from tests.sockets import PATIENCE_S, eventually, free_port

ROUNDS = 4


@contextlib.contextmanager
def control(redis_url: str, data_dir: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A control process that answers; killed at the end, if it lives."""
    command = [sys.executable, "-m", "gateway.cli.main", "control", "--port", str(port)]
    where = ["--redis-url", redis_url, "--data-dir", str(data_dir), "--artifacts", str(data_dir / "a")]
    process = subprocess.Popen(
        [*command, *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | PATIENT
    )
    try:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                if httpx2.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200:
                    break
            except httpx2.TransportError:
                assert time.monotonic() < until
                time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def change_keys(port: int, admin: str, *, round_: int, made: list[str]) -> None:
    """Make keys and revoke every second one, until nobody answers any more."""
    headers = {"authorization": f"Bearer {admin}", "content-type": "application/json"}
    base = f"http://127.0.0.1:{port}/api/v1"
    with (
        contextlib.suppress(httpx2.TransportError),
        httpx2.Client(base_url=base, headers=headers, trust_env=False, timeout=PATIENCE_S) as client,
    ):
        for number in range(10_000):
            role = "admin" if number % 3 == 0 else "client"
            reply = client.post("/keys", json={"name": f"k{round_}-{number}", "role": role})
            assert reply.status_code == 201, reply.text
            if number % 2:
                gone = client.delete(f"/keys/{reply.json()['key_id']}")
                assert gone.status_code == 200, gone.text
            else:
                made.append(reply.json()["key_id"])


async def _until_longer(made: list[str], length: int) -> None:
    await eventually(lambda: len(made) > length)


async def test_a_control_process_killed_while_keys_change_leaves_whole_changes(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    port = free_port()
    with control(redis_url, tmp_path, port):
        first = httpx2.post(
            f"http://127.0.0.1:{port}/api/v1/keys",
            json={"name": "root", "role": "admin"},
            trust_env=False,
            timeout=PATIENCE_S,
        )
    admin, made = first.json()["key"], [first.json()["key_id"]]
    chance = random.Random(7)
    for round_ in range(ROUNDS):
        with control(redis_url, tmp_path, port) as process:
            changing = threading.Thread(
                target=change_keys, args=(port, admin), kwargs={"round_": round_, "made": made}
            )
            before = len(made)
            changing.start()
            await _until_longer(made, before)
            await asyncio.sleep(chance.uniform(0.05, 0.4))  # the moment is what is tried
            os.kill(process.pid, signal.SIGKILL)
            changing.join(PATIENCE_S)
        assert not changing.is_alive()
    documents = Documents(redis)
    present = await all_keys(documents)
    assert len(made) > ROUNDS
    assert set(made) <= set(present)  # what was answered is there
    assert len(present) <= len(made) + ROUNDS  # and beside it what the kill left unanswered
    (access,) = await documents.several([keys.ACCESS_FIELD])
    assert access is not None
    assert turns_on(access)
    assert access.doc == {"admins": sum(key.role is Role.ADMIN for key in present.values())}
    stream = AuditStream(redis)
    assert (await verify(stream, Heads(stream, tmp_path), kept=None, from_head=False)).whole
    with control(redis_url, tmp_path, port):
        headers = {"authorization": f"Bearer {admin}"}
        listed = httpx2.get(f"http://127.0.0.1:{port}/api/v1/keys", headers=headers, trust_env=False)
    assert len(listed.json()["keys"]) == len(present)


@pytest.mark.parametrize("answer", [b"", b"x" * 31, b"x" * 33])
async def test_a_signing_key_that_is_none_is_an_error_and_signs_nothing(
    redis: Redis, tmp_path: Path, answer: bytes
) -> None:
    await Documents(redis).commit([Change("route/a", {}, None)], author="t", reason="", op_id="1")
    (tmp_path / "audit.key").write_bytes(answer)
    with pytest.raises(TurnoutError, match="is not a key"):
        await Heads(AuditStream(redis), tmp_path).sign(now_ms=1)
