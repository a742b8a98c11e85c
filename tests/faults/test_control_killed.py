"""Control killed with SIGKILL at any moment of approvals, moves of aliases and applies: each is whole or not
at all, what was answered is there, the audit says what is there, and the same command again completes it.

Nothing in the product waits for these tests: a process is killed after a random time while commands run
against it. `KILLS=30 scripts/test tests/faults/test_control_killed.py` tries more moments.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
import yaml
from redis.asyncio import Redis

from gateway.cli.main import main
from gateway.contract import keys
from gateway.control.audit.heads import Heads
from gateway.control.audit.questions import verify
from gateway.store.audit import AuditStream, told
from tests.control.world import add_ready_versions
from tests.faults.test_access_faults import control
from tests.sockets import PATIENCE_S, eventually, free_port

KILLS = int(os.environ.get("KILLS", "3"))
MODELS = tuple(f"m{number}" for number in range(12))  # whose routes are applied in one commit
FOLDER_MODELS = ("fa", "fb", "fc")
JSON = {"content-type": "application/json"}


@dataclass
class Commands:
    """Commands against a control process that will be killed; `answered` is what it said yes to.

    Forced, since these workers' leases end while a slow machine is at it.
    """

    port: int
    answered: dict[str, list[Any]] = field(default_factory=lambda: {"apply": [], "approve": [], "alias": []})
    wrong: list[str] = field(default_factory=list)

    def client(self, author: str = "ana") -> httpx2.Client:
        base = f"http://127.0.0.1:{self.port}/api/v1"
        return httpx2.Client(
            base_url=base,
            headers={**JSON, "x-turnout-author": author},
            trust_env=False,
            verify=False,
            timeout=PATIENCE_S,
        )

    def until_killed(self, name: str, act: Callable[[httpx2.Client, int], Any]) -> None:
        with contextlib.suppress(httpx2.TransportError), self.client() as client:
            for number in range(10_000):
                self.answered[name].append(act(client, number))

    def checked(self, reply: httpx2.Response) -> Any:
        if reply.status_code != 200:
            self.wrong.append(f"{reply.status_code} {reply.text}")
        return reply.json()

    def apply(self, client: httpx2.Client, number: int) -> int:
        """All routes get the same weight, which says which apply it was; weights repeat."""
        weight = 1 + number % 97
        self.checked(client.post("/apply", json={"documents": routes(weight), "force": True}))
        return weight

    def approve(self, client: httpx2.Client, number: int) -> str:
        by = {"x-turnout-author": f"bob{number % 20}"}
        seen = self.checked(client.post("/models/m0/versions/2/dossier", json={}))
        wish = {"dossier": seen["hash"], "note": f"note {number}"}
        self.checked(client.post("/models/m0/versions/2/approve", json=wish, headers=by))
        return by["x-turnout-author"]

    def move(self, client: httpx2.Client, number: int) -> str:
        version = "12"[number % 2]
        self.checked(client.put("/models/m0/aliases/champion", json={"version": version}))
        return version


def routes(weight: int) -> list[dict[str, Any]]:
    split = [{"version": "1", "weight": 100 - weight}, {"version": "2", "weight": weight}]
    return [{"model": model, "split": split} for model in MODELS]


def write_folder(folder: Path, round_: int) -> None:
    (folder / "routes").mkdir(parents=True, exist_ok=True)
    (folder / "policies").mkdir(exist_ok=True)
    for model in FOLDER_MODELS:
        split = [{"version": "1", "weight": 50 - round_}, {"version": "2", "weight": 50 + round_}]
        (folder / "routes" / f"{model}.yaml").write_text(yaml.safe_dump({"model": model, "split": split}))
    for name in ("calm", "quiet"):
        policy = {"policy": name, "models": ["f*"], "largest_step": 60 + round_}
        (folder / "policies" / f"{name}.yaml").write_text(yaml.safe_dump(policy))
    version = "12"[round_ % 2]
    aliases = [
        {"model": model, "aliases": [{"alias": "champion", "version": version}]} for model in FOLDER_MODELS
    ]
    (folder / "aliases.yaml").write_text(yaml.safe_dump_all(aliases))


async def check_agreement(redis: Redis, data_dir: Path) -> None:
    """The chain is whole, and every document is what its last entry says: no change without an entry, no
    entry without its change."""
    stream = AuditStream(redis)
    verified = await verify(stream, Heads(stream, data_dir), kept=None, from_head=False)
    assert verified.whole, verified
    found: dict[Any, Any] = dict(await redis.hgetall(keys.DOCUMENTS))
    documents = {name.decode(): raw for name, raw in found.items()}
    last: dict[str, tuple[int, dict[str, Any]]] = {}
    async for page in stream.oldest_first():
        for raw in page:
            entry = told(*raw)
            last |= {change["field"]: (entry["revision"], change) for change in entry["changes"]}
    assert int(await redis.get(keys.REVISION) or 0) == max(revision for revision, _ in last.values())
    for name, (revision, change) in last.items():
        newest = orjson.loads(await redis.lindex(keys.history(name), 0) or b"")
        assert newest["revision"] == revision
        assert change["deleted"] == (name not in documents)
        if not change["deleted"]:
            assert orjson.loads(documents[name]) == newest
            text = json.dumps(newest["doc"], ensure_ascii=False, separators=(",", ":")).encode()
            assert hashlib.sha256(text).hexdigest() == change["sha256"]
    assert set(documents) <= set(last)


async def weights_of(redis: Redis, models: tuple[str, ...]) -> set[float]:
    found = await redis.hmget(keys.DOCUMENTS, [keys.route_field(model) for model in models])
    return {
        next(part["weight"] for part in orjson.loads(raw)["doc"]["split"] if part["version"] == "2")
        for raw in found
        if raw is not None
    }


@pytest.mark.timeout(600)
async def test_a_control_process_killed_at_any_moment_leaves_whole_changes(
    redis: Redis, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in (*MODELS, *FOLDER_MODELS):
        await add_ready_versions(redis, "1", "2", model=model)
    port, folder, chance = free_port(), tmp_path / "folder", random.Random(11)
    commands = Commands(port)
    codes: list[int] = []
    for round_ in range(KILLS):
        write_folder(folder, round_)
        with control(redis_url, tmp_path, port) as process:
            running = [
                threading.Thread(target=commands.until_killed, args=(name, act))
                for name, act in (
                    ("apply", commands.apply), ("approve", commands.approve), ("alias", commands.move)
                )
            ]  # fmt: skip
            running.append(threading.Thread(target=lambda: codes.append(apply_folder(port, folder))))
            for thread in running:
                thread.start()
            if round_ == KILLS - 1:  # or on a slow machine all kills might come before anything was tried
                await eventually(lambda: any(commands.answered.values()))
            await asyncio.sleep(chance.uniform(0.02, 1.0))  # the moment is what is tried
            os.kill(process.pid, signal.SIGKILL)
            for thread in running:
                await asyncio.to_thread(thread.join, PATIENCE_S)
        assert not any(thread.is_alive() for thread in running)
        assert commands.wrong == []
        await check_agreement(redis, tmp_path)
        weights = await weights_of(redis, MODELS)
        assert len(weights) <= 1  # of twelve routes in one commit none is behind
        assert len(await weights_of(redis, FOLDER_MODELS)) <= 1
    standing = await redis.hget(keys.DOCUMENTS, keys.standing_field("m0", "2"))
    none = {"approvals": [], "state": "registered"}
    doc: dict[str, Any] = orjson.loads(standing)["doc"] if standing else none
    approved = {approval["by"] for approval in doc["approvals"]}
    assert set(commands.answered["approve"]) <= approved  # what was answered is there
    assert (doc["state"] == "approved") == bool(approved)
    with control(redis_url, tmp_path, port), commands.client() as client:
        assert apply_folder(port, folder) == 0
        assert apply_folder(port, folder) == 0  # and again changes nothing
        commands.apply(client, 7)
        commands.approve(client, 1)
        commands.move(client, 1)
    assert commands.wrong == []
    assert "nothing to change" in capsys.readouterr().out
    assert await weights_of(redis, MODELS) == {8}
    assert await weights_of(redis, FOLDER_MODELS) == {50 + KILLS - 1}
    await check_agreement(redis, tmp_path)
    assert set(codes) <= {0, 5}, codes
    assert sum(map(len, commands.answered.values())) > 0  # or the kills came before anything was tried


def apply_folder(port: int, folder: Path) -> int:
    return main(
        ["apply", "--dir", str(folder), "--no-wait", "--force", "--control-url", f"http://127.0.0.1:{port}"]
    )
