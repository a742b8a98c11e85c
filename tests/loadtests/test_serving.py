"""Every server is sent the same numbers, must give the model's own answer, and is asked what it can read."""

import json
from pathlib import Path

import pytest

from gateway.contract.envelope import Envelope
from gateway.core.compile import EMPTY, compile_changes
from loadtests.environments import ONNX_RUNTIME
from loadtests.servers import MODEL, SERVERS
from loadtests.serving import documents, expected_label, label_of, requests


def test_both_requests_hold_the_same_row() -> None:
    oip, own = requests()
    (row,) = json.loads(own)["rows"]
    assert json.loads(oip)["inputs"][0]["data"] == row
    assert len(row) == 64


def test_the_label_is_what_the_model_says() -> None:
    assert expected_label(requests()[1]) in range(10)


@pytest.mark.parametrize(
    "reply",
    [
        {"outputs": [{"name": "probabilities", "data": [0.1]}, {"name": "label", "data": [7]}]},
        {"outputs": [{"name": "label", "data": [[7]]}]},
        {"label": [7], "probabilities": [[0.1]]},
        [{"label": 7, "probabilities": [0.1]}],
    ],
)
def test_the_label_is_found_in_every_servers_reply(reply: object) -> None:
    assert label_of(reply) == 7


@pytest.mark.parametrize("reply", [{"error": "no"}, {"outputs": []}, [], "7", None])
def test_a_reply_without_a_label_is_told(reply: object) -> None:
    assert label_of(reply) is None


def test_a_gateway_accepts_the_documents() -> None:
    envelopes = {
        field: Envelope(field=field, revision=1, at_ms=0, author="bench", reason="", doc=doc)
        .model_dump_json()
        .encode()
        for field, doc in documents().items()
    }
    snapshot = compile_changes(EMPTY, revision=1, changed=envelopes)
    assert not snapshot.problems
    assert set(snapshot.versions["digits"]) == {"2"}
    assert snapshot.routes["digits"].route.record.percent == 100


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_listens_where_it_is_asked_and_runs_the_same_runtime(name: str, tmp_path: Path) -> None:
    server = SERVERS[name]
    command = server.prepared(4711, tmp_path)
    written = [path.read_text() for path in tmp_path.iterdir()]
    assert any("4711" in text for text in [*command, *written])
    assert ONNX_RUNTIME in server.environment.requirements
    assert command[0].startswith(str(server.environment.directory))


def test_mlserver_is_given_the_demos_model(tmp_path: Path) -> None:
    SERVERS["mlserver"].prepared(4711, tmp_path)
    model = json.loads((tmp_path / "model-settings.json").read_text())
    assert Path(model["parameters"]["uri"]) == MODEL
    assert MODEL.exists()
