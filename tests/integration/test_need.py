"""Workers that come and go by need: a whole installation with a short warmth, and its clients."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.running import ROOT, Up, until
from tests.sockets import PATIENCE_S

WARM_S = 4
SETTINGS = f"""
keep_warm_s: {WARM_S}
supervisor: {{max_workers: 3, quick_failures: 3, first_backoff_s: 0.05, poll_s: 0.1}}
worker: {{drain_grace_s: 0.5}}
"""
MODELS = ROOT / "config/demo/models"


@dataclass(frozen=True, slots=True)
class Place:
    up: Up
    data_dir: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        url = ("--control-url", self.up.address("control"))
        command = [sys.executable, "-m", "gateway.cli.main", *arguments, *url]
        return subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT)

    def register(self, version: str, *options: str) -> None:
        file = str(MODELS / f"digits-{version}.onnx")
        done = self.run("model", "register", "digits", "--version", version, "--from", file, *options)
        assert done.returncode == 0, done.stderr

    def pool(self, version: str) -> dict[str, Any]:
        pools = self.up.get("control", "/api/v1/pools")["pools"]
        return next(pool for pool in pools if pool["version"] == version)

    def until_stopped(self, version: str) -> None:
        until(lambda: self.pool(version)["workers"] == [])

    def give_all_to(self, version: str) -> None:
        edit = {"kind": "split", "split": [{"version": version, "weight": 100}]}
        url = f"{self.up.address('control')}/api/v1/routes/digits/edit"
        reply = httpx2.post(url, json={"edit": edit}, trust_env=False, timeout=PATIENCE_S)
        assert reply.status_code == 200, reply.text

    def split(self) -> list[dict[str, Any]]:
        split: list[dict[str, Any]] = self.up.get("control", "/api/v1/routes/digits")["document"]["split"]
        return split


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Version 1 answers; 2 and 4 are registered, and nothing needs them."""
    data_dir = tmp_path_factory.mktemp("need")
    (data_dir / "settings.yaml").write_text(SETTINGS)
    up = Up(data_dir / "data", "--config", str(data_dir / "settings.yaml"))
    try:
        place = Place(up.until_up(), data_dir / "data")
        place.register("2", "--no-wait")
        place.register("4", "--no-wait")
        place.register("1")
        assert place.run("route", "split", "digits", "1=100").returncode == 0
        yield place
    finally:
        up.destroy()


@contextmanager
def clients(place: Place) -> Iterator[Counter[tuple[int, str]]]:
    """Two that ask all the time; what they got, by status and version."""
    seen: Counter[tuple[int, str]] = Counter()
    end = threading.Event()

    def ask() -> None:
        while not end.wait(0.01):
            reply = place.up.infer()
            seen[reply.status_code, reply.headers.get("turnout-version", "")] += 1

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        end.set()
        for thread in threads:
            thread.join(60)


def test_workers_come_before_traffic_and_go_after_it_and_no_request_notices(place: Place) -> None:
    place.until_stopped("2")  # its trial is over
    assert place.pool("2")["wanted"] == 0
    with clients(place) as seen:
        done = place.run("route", "split", "digits", "1=50", "2=50")
        assert done.returncode == 0, done.stderr
        assert "starting 1 worker of digits 2 ..." in done.stdout
        assert place.pool("2")["reasons"] == ["split 50 %"]
        until(lambda: seen[200, "2"] > 10)
        place.give_all_to("1")  # without a command's own time: the warmth is short
        warm = place.pool("2")
        assert (warm["ready"], warm["reasons"]) == (1, ["was in the route"])
        assert 0 < warm["stops_in_s"] <= WARM_S
        place.until_stopped("2")
    assert {status for status, _ in seen} == {200}


def test_a_rollout_starts_its_candidate_before_it_gets_traffic(place: Place) -> None:
    place.until_stopped("2")
    done = place.run("rollout", "start", "digits", "--to", "2", "--plan", "fast")
    assert done.returncode == 0, done.stderr
    assert "workers ready" in done.stdout
    (reason,) = [reason for reason in place.pool("2")["reasons"] if reason.startswith("rollout")]
    assert place.pool("2")["stops_in_s"] is None
    assert place.run("rollout", "abort", "digits").returncode == 0
    place.until_stopped("2")
    assert reason not in place.pool("2")["reasons"]


def test_a_corrupt_model_file_is_never_served_and_its_crash_loop_is_told(place: Place) -> None:
    place.until_stopped("4")
    digest = place.up.get("control", "/api/v1/models/digits/versions/4")["digest"]
    file = place.data_dir / "artifacts" / "sha256" / digest[:2] / digest
    good = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    kept = place.run("pools", "scale", "digits", "4", "1", "--always")
    assert kept.returncode == 1
    assert "crash loop: failed 3 times in a row" in kept.stderr
    assert "is not the registered file" in kept.stderr
    assert "crash loop" in place.run("pools").stderr
    refused = place.run("route", "split", "digits", "1=90", "4=10", "--start-s", "1")
    assert (refused.returncode, "0/1 workers of digits 4 ready" in refused.stderr) == (1, True)
    assert place.split() == [{"version": "1", "weight": 100.0}]
    assert place.up.infer("digits/versions/4").status_code == 503
    file.write_bytes(good)
    assert place.run("pools", "start", "digits", "4").returncode == 0  # a new wish ends the long pause
    assert place.up.infer("digits/versions/4").status_code == 200
    assert place.run("pools", "scale", "digits", "4", "1", "--when-needed", "--no-wait").returncode == 0


def test_a_full_machine_says_so_and_what_to_do(place: Place) -> None:
    done = place.run("pools", "scale", "digits", "1", "4", "--wait-s", "2")
    assert done.returncode == 1
    assert "has all 3 workers that it may have: scale something down" in done.stderr
    status = json.dumps(place.up.get("control", "/api/v1/status")["problems"])
    assert "supervisor.max_workers" in status
    assert place.run("pools", "scale", "digits", "1", "1").returncode == 0
