"""ModelDB's registry, played by a double that was written from its published RegistryService: there is no
server of it to install.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.sources.servers import Answer, Served, as_json, served
from tests.sources.test_sources import ONE, got, refusal

FIND = "/api/v1/registry/workspaces/team/registered_models/digits/model_versions/find"
COMMIT = "c" * 40
VERSION: dict[str, Any] = {
    "id": "7000000000000000001",
    "registered_model_id": "4",
    "version": "v2",
    "time_created": "1700000000000",
    "description": "Deeper\n\nmuch",
    "experiment_run_id": "run-9",
    "labels": ["vision"],
    "model": {"key": "model", "path": "s3://bucket/x", "artifact_type": "MODEL"},
    "owner": "ana",
    "stage": "STAGING",
    "attributes": [
        {"key": "accuracy", "value": 0.97, "value_type": "NUMBER"},
        {"key": "framework", "value": "sklearn"},
        {"key": "list", "value": [1], "value_type": "LIST"},
    ],
    "datasets": [{"key": "train", "path": "s3://data/1"}],
    "code_version_from_blob": {
        "src": {"git_snapshot": {"repo": "https://host/repo", "hash": COMMIT, "is_dirty": "FALSE"}}
    },
}


class ModelDB:
    """`url`: where the double says that the artifact lies; None: at its own address."""

    def __init__(self) -> None:
        self.versions: Any = [VERSION]
        self.url: str | None = None
        self.file: Answer = (200, {}, ONE)
        self.port = 0
        self.bodies: list[Any] = []

    def __call__(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if method == "GET" and path.startswith("/artifact?signed="):
            return self.file
        self.bodies.append(json.loads(body))
        if path == FIND:
            return as_json({"model_versions": self.versions, "total_records": "1"})
        if path == f"/api/v1/registry/model_versions/{VERSION['id']}/getUrlForArtifact":
            own = f"http://127.0.0.1:{self.port}/artifact?signed=secret"
            return as_json({"url": own if self.url is None else self.url, "multipart_upload_ok": False})
        return as_json({"code": 5, "message": "Model not found\x1b[31m"}, 404)


@pytest.fixture
def double() -> ModelDB:
    return ModelDB()


@pytest.fixture
def server(double: ModelDB) -> Iterator[Served]:
    with served(double) as found:
        double.port = found.port
        yield found


@pytest.fixture
def address(server: Served) -> str:
    return f"modeldb://{server.address}/team/digits/v2"


def test_a_version_gives_its_file_with_what_is_known_about_it(
    address: str, double: ModelDB, tmp_path: Path
) -> None:
    found = got(address, tmp_path)
    assert (found.path.read_bytes(), found.address) == (ONE, address)
    assert found.metrics == {"accuracy": 0.97}
    assert found.tags == {"vision": "", "stage": "staging"}
    lineage = found.lineage
    assert (lineage.kind, lineage.run_id, lineage.created_by, lineage.subject) == (
        "modeldb", "run-9", "ana", "Deeper",
    )  # fmt: skip
    assert (lineage.git_repository, lineage.git_commit, lineage.git_clean) == (
        "https://host/repo", COMMIT, True,
    )  # fmt: skip
    assert lineage.parameters == {"framework": "sklearn", "dataset-train": "s3://data/1"}
    assert lineage.created_at == "2023-11-14T22:13:20+00:00"
    find, url = double.bodies
    assert find == {"predicates": [{"key": "version", "value": "v2", "operator": "EQ"}]}
    assert url == {"key": "model", "method": "GET", "artifact_type": "MODEL"}


def test_a_version_without_more_than_its_file_is_enough(
    address: str, double: ModelDB, tmp_path: Path
) -> None:
    double.versions = [{key: VERSION[key] for key in ("id", "version", "model")}]
    found = got(address, tmp_path)
    assert (found.path.read_bytes(), found.lineage.git_clean, found.tags) == (ONE, None, {})


@pytest.mark.parametrize("versions", [
    [], None, "x", [7], [VERSION | {"version": "v20"}], [VERSION | {"model": {}}],
    [VERSION | {"id": "../../x"}], [VERSION | {"id": None}],
])  # fmt: skip
def test_answers_that_are_no_such_version_are_refused(
    versions: Any, address: str, double: ModelDB, tmp_path: Path
) -> None:
    double.versions = versions
    assert refusal(address, tmp_path)[0] in ("not_found", "bad_upstream")


def test_an_unknown_model_is_told_in_the_servers_words_on_one_line(server: Served, tmp_path: Path) -> None:
    code, message = refusal(f"modeldb://{server.address}/team/other/v2", tmp_path)
    assert (code, "Model not found" in message, "\x1b" in message) == ("not_found", True, False)


@pytest.mark.parametrize("url", [
    "file:///etc/passwd", "s3://bucket/x", "", "http://", "http://169.254.169.254/latest/meta-data",
    "http://[::ffff:169.254.169.254]/", "http://localhost:1/x", "http://10.0.0.1/x", "http://[::1]:1/x",
])  # fmt: skip
def test_a_server_cannot_send_us_to_addresses_that_are_not_public(
    url: str, address: str, double: ModelDB, tmp_path: Path
) -> None:
    double.url = url
    assert refusal(address, tmp_path)[0] == "refused"


def test_another_host_is_asked_once_the_operator_named_it(
    address: str, double: ModelDB, tmp_path: Path
) -> None:
    with served(lambda *request: (200, {}, ONE), host="127.0.0.2") as store:
        double.url = f"http://{store.address}/x?signed=secret"
        code, message = refusal(address, tmp_path)
        assert (code, "--source-host 127.0.0.2" in message, store.asked) == ("refused", True, [])
        assert got(address, tmp_path, hosts=("127.0.0.2",)).path.read_bytes() == ONE


def test_a_redirect_of_the_file_is_not_followed(address: str, double: ModelDB, tmp_path: Path) -> None:
    with served(lambda *request: (200, {}, ONE)) as elsewhere:
        double.file = (302, {"location": f"http://{elsewhere.address}/"}, b"")
        code, message = refusal(address, tmp_path)
        assert (code, "302" in message, elsewhere.asked) == ("bad_upstream", True, [])


def test_a_file_over_the_limit_is_cut_off(address: str, tmp_path: Path) -> None:
    assert refusal(address, tmp_path, max_bytes=len(ONE) - 1)[0] == "too_large"


@pytest.mark.parametrize("end", [
    "", "/team", "/team/digits", "/team/digits/", "/team/digits/v2/x", "/team/a%2Fb/v2", "/team/../v2",
    "/team/digits/v2%0A", "/team/digits/v2#x", "/team/digits/v2?x",
])  # fmt: skip
def test_addresses_that_name_no_version_are_refused_unasked(end: str, server: Served, tmp_path: Path) -> None:
    assert refusal(f"modeldb://{server.address}{end}", tmp_path)[0] == "bad_request"
    assert server.asked == []


def test_a_server_that_is_not_there_is_told(server: Served, tmp_path: Path) -> None:
    code, _ = refusal("modeldb://127.0.0.1:9/team/digits/v2", tmp_path)
    assert code == "unreachable"


def test_an_answer_without_end_is_given_up(address: str, double: ModelDB, tmp_path: Path) -> None:
    double.versions = [{**VERSION, "description": "x" * (5 << 20)}]
    code, message = refusal(address, tmp_path)
    assert (code, "too long" in message) == ("bad_upstream", True)
