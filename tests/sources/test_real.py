"""Sources against the real MLflow server and the real DVC, and a store against moto, which speaks S3;
`scripts/test-sources` installs them and runs this.
"""

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.contract.errors import TurnoutError
from gateway.sources.fetch import fetch
from gateway.sources.fetched import Limits
from gateway.sources.mlflow import Mlflow, parse_mlflow
from tests.cli.conftest import Installation, Run, installation, run
from tests.cli.test_governed_release import Team, release, sources, team
from tests.sources.test_sources import ONE, TWO, commit, git
from workers.stores import Store, open_store
from workers.stores.checked import opened

PEERS = os.environ.get("TURNOUT_SOURCE_PEERS")  # the folder of a virtual environment with mlflow and dvc
__all__ = ["installation", "run", "sources", "team"]  # fixtures
pytestmark = pytest.mark.skipif(PEERS is None, reason="run scripts/test-sources")


def program(name: str) -> str:
    return f"{PEERS}/bin/{name}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a tracking server that hands out artifacts itself."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [
        program("mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{tmp_path}/m.db", "--serve-artifacts",
        "--artifacts-destination", str(tmp_path / "kept"),
    ]  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            arguments, stdout=log, stderr=log, start_new_session=True, cwd=tmp_path,
            env={"PATH": f"{PEERS}/bin:{os.environ['PATH']}", "HOME": str(tmp_path)},
        )  # fmt: skip
    try:
        _wait_until_up(process, port, tmp_path / "log")
        yield f"127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(20)


def _wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(400):
        assert process.poll() is None, log.read_text()
        with suppress(httpx2.TransportError):
            if httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
    raise AssertionError(log.read_text())


def ask(server: str, method: str, what: str, **body: Any) -> Any:
    reply = httpx2.request(
        method, f"http://{server}/api/2.0/mlflow/{what}", json=body, trust_env=False, timeout=30
    )
    assert reply.status_code == 200, reply.text
    return reply.json()


def trained(server: str, data: bytes, *, accuracy: float, commit_id: str) -> str:
    """A run with a metric, a parameter and a model file, registered as the next version of digits."""
    run = ask(
        server, "POST", "runs/create", experiment_id="0", start_time=1,
        tags=[{"key": "mlflow.source.git.commit", "value": commit_id}, {"key": "team", "value": "vision"}],
    )["run"]  # fmt: skip
    run_id = run["info"]["run_id"]
    ask(server, "POST", "runs/log-metric", run_id=run_id, key="accuracy", value=accuracy, timestamp=1)
    ask(server, "POST", "runs/log-parameter", run_id=run_id, key="depth", value="7")
    source = f"{run['info']['artifact_uri']}/model"
    path = source.removeprefix("mlflow-artifacts:/")
    put = httpx2.put(
        f"http://{server}/api/2.0/mlflow-artifacts/artifacts/{path}/model.onnx", content=data, trust_env=False
    )
    assert put.status_code == 200, put.text
    made = ask(server, "POST", "model-versions/create", name="digits", source=source, run_id=run_id)
    return str(made["model_version"]["version"])


def test_an_alias_of_mlflow_gives_file_run_metrics_and_commit(server: str, tmp_path: Path) -> None:
    ask(server, "POST", "registered-models/create", name="digits")
    first = trained(server, ONE, accuracy=0.9, commit_id="a" * 40)
    second = trained(server, TWO, accuracy=0.95, commit_id="b" * 40)
    ask(server, "POST", "registered-models/alias", name="digits", alias="champion", version=second)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    found = fetch(f"mlflow://{server}/models:/digits@champion", tmp_path / "a", limits=Limits())
    assert found.path.read_bytes() == TWO
    assert (found.metrics, found.tags) == ({"accuracy": 0.95}, {"team": "vision"})
    assert (found.lineage.git_commit, found.lineage.parameters) == ("b" * 40, {"depth": "7"})
    assert len(found.lineage.run_id) == 32
    assert found.address == f"mlflow://{server}/models:/digits/{second}"
    old = fetch(f"mlflow://{server}/models:/digits/{first}", tmp_path / "b", limits=Limits())
    assert old.path.read_bytes() == ONE
    for address in ("digits@none", "iris/1"):
        with pytest.raises(TurnoutError) as raised:
            fetch(f"mlflow://{server}/models:/{address}", tmp_path, limits=Limits())
        assert raised.value.code in ("not_found", "bad_upstream")
    ask(server, "POST", "registered-models/alias", name="digits", alias="champion", version=first)
    named = parse_mlflow(f"mlflow://{server}/models:/digits", alias="champion")
    client = Mlflow(named.url, limits=Limits())
    assert str(client.version(named)["version"]) == first
    client.close()


def test_following_an_alias_registers_each_version_once(
    server: str, installation: Installation, run: Run
) -> None:
    ask(server, "POST", "registered-models/create", name="digits")
    address = f"mlflow://{server}/models:/digits"
    for data in (ONE, TWO):
        version = trained(server, data, accuracy=0.9, commit_id="a" * 40)
        ask(server, "POST", "registered-models/alias", name="digits", alias="best", version=version)
        first = run("model", "follow", "scans", address, "--alias", "best", "--once")
        assert (first.code, f"turnout rollout start scans --to {version} " in first.out) == (0, True), first
        again = run("model", "follow", "scans", address, "--alias", "best", "--once")
        assert (again.code, "registered already" in again.out) == (0, True)


def test_a_version_of_mlflow_is_released_by_the_rules_beside_those_of_dvc_and_a_folder(
    server: str, team: Team, installation: Installation, sources: dict[str, str], tmp_path: Path
) -> None:
    ask(server, "POST", "registered-models/create", name="digits")
    version = trained(server, TWO, accuracy=0.95, commit_id="b" * 40)
    ask(server, "POST", "registered-models/alias", name="digits", alias="champion", version=version)
    mlflow = f"mlflow://{server}/models:/digits@champion"
    release(team, installation, {**sources, "3": sources["2"], "2": mlflow}, tmp_path)


def test_what_dvc_pushed_is_found_under_its_tag(tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    commit(repository, {"README": b"x"}, "Begin")
    env = {"PATH": f"{PEERS}/bin:{os.environ['PATH']}", "HOME": str(tmp_path), "DVC_NO_ANALYTICS": "1"}

    def dvc(*arguments: str) -> None:
        subprocess.run([program("dvc"), *arguments], cwd=repository, env=env, check=True, capture_output=True)

    dvc("init")
    dvc("remote", "add", "--default", "store", str(tmp_path / "remote"))
    for data, tag in ((ONE, "digits@v1.0.0"), (TWO, "digits@v1.1.0")):
        (repository / "model.onnx").write_bytes(data)
        dvc("add", "model.onnx")
        dvc("push")
        git(repository, "add", ".dvc", "model.onnx.dvc", ".gitignore")
        git(repository, "commit", "--quiet", "--message", f"Track {tag}")
        git(repository, "tag", tag)
        (tmp_path / tag).mkdir()
        found = fetch(f"dvc+git+file://{repository}@gto:{tag}#model.onnx", tmp_path / tag, limits=Limits())
        assert (found.path.read_bytes(), found.lineage.kind) == (data, "dvc")
    (tmp_path / "again").mkdir()
    found = fetch(
        f"dvc+git+file://{repository}@digits@v1.0.0#model.onnx", tmp_path / "again", limits=Limits()
    )
    assert found.path.read_bytes() == ONE


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A server that speaks S3, which the driver finds by the usual variables; one bucket is there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    named = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**named, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(name, value)
    with (tmp_path / "s3.log").open("wb") as log:
        process = subprocess.Popen(
            [program("python"), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=log, stderr=log, cwd=tmp_path, env={"PATH": os.environ["PATH"], **named},
        )  # fmt: skip
    bucket = f"http://127.0.0.1:{port}/bucket"
    try:
        for _ in range(400):
            assert process.poll() is None, (tmp_path / "s3.log").read_text()
            with suppress(httpx2.TransportError):
                if httpx2.put(bucket, trust_env=False).status_code == 200:
                    break
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        yield process
    finally:
        process.kill()
        process.wait(20)


@pytest.mark.filterwarnings("default")  # those of the driver's libraries are not ours
def test_a_bucket_is_a_store(
    s3: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    monkeypatch.setattr(sys, "path", [*sys.path, f"{PEERS}/lib/{version}/site-packages"])
    store = open_store(tmp_path, "s3://bucket/models")
    digest = put(store, tmp_path, ONE)
    assert [(kept.digest, kept.size_bytes) for kept in store.kept()] == [(digest, len(ONE))]
    with opened(store, digest, scratch=tmp_path, max_bytes=1000) as file:
        assert file.read() == ONE
    store.set_aside(digest)
    assert (store.has(digest), store.aside()) == (False, [digest])
    store.bring_back(digest)
    assert (store.has(digest), store.aside(), store.delete_partial(2e9)) == (True, [], 0)
    with pytest.raises(TurnoutError, match=r"is not there: .*bucket") as raised:
        put(open_store(tmp_path, "s3://misspelt/models"), tmp_path, ONE)
    assert raised.value.code == "not_found"
    s3.kill()
    with pytest.raises(TurnoutError, match="failed: Could not connect") as raised:
        store.has(digest)
    assert raised.value.code == "bad_upstream"


def put(store: Store, folder: Path, data: bytes) -> str:
    (folder / "source").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    store.put(folder / "source", digest)
    return digest
