"""Aliases that are followed: of this installation by its routes, of MLflow by `turnout model follow`."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from redis.asyncio import Redis

from tests.cli.conftest import Installation, Result, Run
from tests.cli.test_deploy import DIGEST, Pipeline, pipeline
from tests.control.test_models import model_file
from tests.control.world import add_worker

__all__ = ["pipeline"]
pytestmark = pytest.mark.usefixtures("installation")


def until(run: Callable[[], Result], words: str) -> Result:
    """Asks until the answer has these words: the leader looks twice a second."""
    end_s = time.monotonic() + 60
    while True:
        found = run()
        if words in found.out:
            return found
        assert time.monotonic() < end_s, found
        time.sleep(0.05)


def test_a_route_follows_an_alias_and_says_what_became_of_its_move(
    run: Run, installation: Installation, tmp_path: Path
) -> None:
    async def renew(redis: Redis) -> None:
        for name in ("1", "2"):
            await add_worker(redis, name)

    run("route", "split", "digits", "1=100")
    assert run("route", "follow", "digits", "champion", "--plan", "nonesuch").code == 2
    assert run("route", "follow", "digits").code == 2
    followed = run("route", "follow", "digits", "champion")
    assert (followed.code, "names no version yet" in followed.err) == (0, True), followed.err
    exported = tmp_path / "deploy"
    assert run("alias", "set", "digits", "champion", "1").code == 0
    until(lambda: run("alias", "show", "digits"), "arrived")
    assert run("export", "--dir", exported).code == 0
    assert yaml.safe_load((exported / "routes" / "digits.yaml").read_text())["follow"] == {
        "alias": "champion"
    }
    assert run("diff", "--dir", exported).code == 0

    strict = tmp_path / "strict.yaml"
    strict.write_text("policy: strict\naliases: [{names: [champion], states: [approved]}]\n")
    run("policy", "apply", "-f", strict)
    wish = exported / "aliases.yaml"
    wish.write_text("model: digits\naliases: [{alias: champion, version: '2'}]\n")
    checked = run("policy", "check", "-f", wish)
    assert (checked.code, "[strict.aliases.states; override: admin]" in checked.err) == (3, True)
    refused = run("alias", "set", "digits", "champion", "2")
    assert (refused.code, "strict.aliases.states" in refused.err) == (3, True)
    installation.call(renew)  # leases last five seconds
    forced = run("alias", "set", "digits", "champion", "2", "--force", "--reason", "fire")
    assert (forced.code, "overridden" in forced.err, "with all requests at once" in forced.err) == (
        0,
        True,
        True,
    )
    until(lambda: run("route", "list"), "2=100")
    assert "champion (2) at once: arrived" in run("route", "show", "digits").out
    drift = run("diff", "--dir", exported)
    assert (drift.code, "was moved by a rollout or its alias" in drift.out) == (2, True), drift.out
    assert run("apply", "--dir", exported).code == 0
    assert "2=100" in run("route", "list").out
    installation.call(renew)
    run("route", "split", "digits", "1=100")
    assert "by hand" in run("alias", "show", "digits").out
    assert run("route", "follow", "digits", "--off").code == 0
    assert "its route follows none" in run("alias", "show", "digits").out


def test_to_register_may_start_the_rollout_as_deploy_does_and_again_finds_it(pipeline: Pipeline) -> None:
    command = (
        "model", "register", "identity", "--version", "b", "--from", pipeline.file, "--no-wait",
        "--rollout", pipeline.plan,
    )  # fmt: skip
    first = pipeline.run(*command)
    assert (first.code, "identity b registered" in first.out) == (0, True), first
    started = pipeline.rollout()
    assert (started["candidate"], started["baseline"]) == ("b", "a")
    again = pipeline.run(*command)
    assert (again.code, "is this one already" in again.out) == (0, True), again
    wrong = pipeline.run(*command[:-1], "nonesuch", "--version", "c")
    assert wrong.code == 2
    assert "c" not in json.loads(pipeline.run("model", "list", "--json").out)["models"][0]["versions"]


class FakeMlflow:
    """As much of its REST API as is asked for: `version` is what every alias means, None: nothing."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.fetched = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def address(self) -> str:
        return f"mlflow://127.0.0.1:{self.server.server_address[1]}/models:/scans"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, query = urlsplit(request.path).path, parse_qs(urlsplit(request.path).query)
        said: Any = {}
        if path.endswith("registered-models/alias") and self.version is None:
            request.send_error(404)
            return
        if path.endswith(("registered-models/alias", "model-versions/get")):
            version = query.get("version", [self.version])[0]
            said = {"model_version": {"version": version, "status": "READY", "run_id": ""}}
        elif path.endswith("get-download-uri"):
            said = {"artifact_uri": "mlflow-artifacts:/1/model"}
        elif path.endswith("mlflow-artifacts/artifacts"):
            said = {"files": [{"path": "model.onnx", "is_dir": False}]}
        is_file = path.endswith("model.onnx")
        self.fetched += is_file
        body = model_file() if is_file else json.dumps(said).encode()
        request.send_response(200)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def mlflow() -> Iterator[FakeMlflow]:
    made = FakeMlflow()
    yield made
    made.stop()


def test_what_mlflow_moves_to_is_registered_once_and_its_rollout_proposed(
    run: Run, mlflow: FakeMlflow
) -> None:
    follow = ("model", "follow", "scans", mlflow.address, "--alias", "champion", "--once")
    gone = run(*follow)
    assert (gone.code, "404" in gone.err) == (1, True), gone
    mlflow.version = "7"
    first = run(*follow, "--plan", "careful")
    assert (first.code, "turnout rollout start scans --to 7 --plan careful" in first.out) == (0, True), first
    assert "scans" in run("model", "list", "--search", "tag:proposed-plan=careful").out
    again = run(*follow, "--plan", "careful")
    assert (again.code, "registered already" in again.out, mlflow.fetched) == (0, True, 1)
    assert run(*follow, "--start").code == 2
    assert run(*follow, "--plan", "nonesuch").code == 2


def test_with_start_its_rollout_begins_once(
    pipeline: Pipeline, mlflow: FakeMlflow, installation: Installation
) -> None:
    async def add(redis: Redis) -> None:
        for name in ("a", "8"):
            await add_worker(redis, name, model="identity", digest=DIGEST)

    mlflow.version = "8"
    follow = (
        "model", "follow", "identity", mlflow.address, "--alias", "champion", "--once", "--plan",
        pipeline.plan, "--start", "--ready-s", "0.1",
    )  # fmt: skip
    early = pipeline.run(*follow)
    assert (early.code, "0/1 workers of identity 8 ready" in early.err) == (
        1,
        True,
    )  # registered, and goes on from there
    installation.call(add)
    begun = pipeline.run(*follow)
    assert (begun.code, pipeline.rollout()["candidate"]) == (0, "8"), begun
    assert "is this one already" in pipeline.run(*follow).out


def test_an_outage_is_told_once_and_what_was_missed_is_done_after_it(
    run: Run, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The waiting between two looks is where things happen."""
    waits = itertools.count()

    def wait(every_s: float) -> None:
        turn = next(waits)
        if turn == 2:
            mlflow.version = "7"
        if turn == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("gateway.cli.model.follow.time.sleep", wait)
    found = run("model", "follow", "scans", mlflow.address, "--alias", "champion", "--every", "5")
    assert found.err.count("404") == 1
    assert found.out.count("tried again every 5 s") == 1
    assert "scans 7 registered" in found.out
    assert "goes on" in found.out
