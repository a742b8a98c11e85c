"""The Open Inference Protocol against a real worker process: addresses, datatypes, errors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest
from onnx import helper

from tests.sockets import ask
from tests.workers import models
from tests.workers.processes import Running, request, start_worker

VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False],
    "UINT8": [0, 255],
    "UINT16": [0, 65535],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "INT8": [-128, 127],
    "INT16": [-32768, 32767],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP16": [-0.5, 65504.0],
    "FP32": [0.1, -3.5e38 / 2],
    "FP64": [0.1, 1e300],
    "BYTES": ["", "é😀\x00\n"],
}
DTYPES = {name: np.dtype(helper.tensor_dtype_to_np_dtype(number)) for name, number in models.TYPES.items()}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start_worker(
        tmp_path_factory.mktemp("conformance"), models.everything(), "--drain-grace-s", "0"
    )
    yield running
    assert running.end() == 0
    assert "Traceback" not in running.said()


@pytest.fixture
def client(worker: Running) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=worker.url) as client:
        yield client


def packed(datatype: str) -> bytes:
    if datatype == "BYTES":
        parts = [text.encode() for text in VALUES["BYTES"]]
        return b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    return np.array(VALUES[datatype], DTYPES[datatype]).tobytes()


def json_tensor(datatype: str) -> dict[str, Any]:
    return {"name": f"x_{datatype}", "shape": [1, 2], "datatype": datatype, "data": VALUES[datatype]}


def binary_tensor(datatype: str) -> dict[str, Any]:
    tensor = json_tensor(datatype)
    del tensor["data"]
    return tensor | {"parameters": {"binary_data_size": len(packed(datatype))}}


def close_to(found: list[Any], datatype: str) -> bool:
    if datatype == "BYTES":
        return found == VALUES[datatype]
    return bool(
        np.array_equal(np.array(found, DTYPES[datatype]), np.array(VALUES[datatype], DTYPES[datatype]))
    )


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_servers_metadata_names_the_binary_extension(client: httpx2.Client, path: str) -> None:
    found = client.get(path).json()
    assert found["name"] == "turnout"
    assert "binary_tensor_data" in found["extensions"]
    assert isinstance(found["version"], str)


def test_health_has_the_bodies_that_clients_read(client: httpx2.Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models").json() == {"models": ["m"]}


@pytest.mark.parametrize("base", ["/v2/models/m", "/v2/models/m/versions/1"])
def test_the_models_metadata_with_and_without_its_version(client: httpx2.Client, base: str) -> None:
    found = client.get(base).json()
    assert (found["name"], found["versions"], found["platform"]) == ("m", ["1"], "onnx_onnxv1")
    assert {"name": "x_BYTES", "datatype": "BYTES", "shape": [-1, 2]} in found["inputs"]
    assert len(found["outputs"]) == len(models.TYPES)
    assert client.get(f"{base}/ready").json() == {"name": "m", "ready": True}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/models/other", 404, "unknown_model"),
        ("GET", "/v2/models/other/ready", 404, "unknown_model"),
        ("GET", "/v2/models/m/versions/2", 404, "unknown_version"),
        ("GET", "/v2/models/m/versions/2/ready", 404, "unknown_version"),
        ("POST", "/v2/models/other/infer", 404, "unknown_model"),
        ("POST", "/v2/models/m/versions/2/infer", 404, "unknown_version"),
        ("GET", "/v2/models/m/infer", 405, "method_not_allowed"),
        ("POST", "/v2/models/m", 405, "method_not_allowed"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/v2/models/m/versions", 404, "not_found"),
        ("POST", "/v2/models/..%2f..%2fetc/infer", 404, "not_found"),
        ("GET", "/v2/models/M", 404, "unknown_model"),
    ],
)
def test_what_is_not_there_is_told_as_the_protocols_error(
    client: httpx2.Client, method: str, path: str, status: int, code: str
) -> None:
    reply = client.request(method, path)
    assert (reply.status_code, reply.headers["turnout-error"]) == (status, code)
    assert list(reply.json()) == ["error"]
    assert isinstance(reply.json()["error"], str)


def test_every_datatype_in_json(client: httpx2.Client) -> None:
    body = {"id": "42", "inputs": [json_tensor(name) for name in models.TYPES]}
    found = client.post("/v2/models/m/infer", json=body).json()
    assert (found["model_name"], found["model_version"], found["id"]) == ("m", "1", "42")
    for output in found["outputs"]:
        datatype = output["datatype"]
        assert output["name"] == f"y_{datatype}"
        assert output["shape"] == [1, 2]
        assert close_to(output["data"], datatype), datatype


def test_every_datatype_as_raw_bytes_both_ways(client: httpx2.Client) -> None:
    head = orjson.dumps(
        {"inputs": [binary_tensor(name) for name in models.TYPES], "parameters": {"binary_data_output": True}}
    )
    reply = client.post(
        "/v2/models/m/versions/1/infer",
        content=head + b"".join(packed(name) for name in models.TYPES),
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    assert reply.headers["content-type"] == "application/octet-stream"
    size = int(reply.headers["inference-header-content-length"])
    rest = reply.content[size:]
    for output in orjson.loads(reply.content[:size])["outputs"]:
        part, rest = (
            rest[: output["parameters"]["binary_data_size"]],
            rest[output["parameters"]["binary_data_size"] :],
        )
        assert part == packed(output["datatype"]), output["name"]
    assert rest == b""


def test_json_and_raw_bytes_mixed_and_a_subset_of_outputs_in_the_order_asked_for(
    client: httpx2.Client,
) -> None:
    raw = {"INT16", "BYTES", "BOOL"}
    inputs = [binary_tensor(name) if name in raw else json_tensor(name) for name in models.TYPES]
    asked = [
        {"name": "y_BYTES", "parameters": {"binary_data": True}},
        {"name": "y_FP32"},
        {"name": "y_BOOL", "parameters": {"binary_data": True}},
    ]
    head = orjson.dumps({"inputs": inputs, "outputs": asked})
    reply = client.post(
        "/v2/models/m/infer",
        content=head + b"".join(packed(name) for name in models.TYPES if name in raw),
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    size = int(reply.headers["inference-header-content-length"])
    outputs = orjson.loads(reply.content[:size])["outputs"]
    assert [output["name"] for output in outputs] == ["y_BYTES", "y_FP32", "y_BOOL"]
    assert close_to(outputs[1]["data"], "FP32")
    assert reply.content[size:] == packed("BYTES") + packed("BOOL")


def test_rows_of_a_batch_keep_their_places(client: httpx2.Client) -> None:
    inputs = [
        json_tensor(name) | {"shape": [3, 2], "data": [VALUES[name], VALUES[name][::-1], VALUES[name]]}
        for name in models.TYPES
    ]
    for output in client.post("/v2/models/m/infer", json={"inputs": inputs}).json()["outputs"]:
        assert output["shape"] == [3, 2]
        assert close_to(output["data"][:2], output["datatype"])
        assert close_to(output["data"][2:4][::-1], output["datatype"])


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/octet-stream", "application/json"])
def test_json_is_read_whatever_the_content_type(client: httpx2.Client, content_type: str | None) -> None:
    body = orjson.dumps(
        {"inputs": [json_tensor(name) for name in models.TYPES], "outputs": [{"name": "y_INT8"}]}
    )
    headers = {} if content_type is None else {"content-type": content_type}
    reply = client.post("/v2/models/m/infer", content=body, headers=headers)
    assert reply.json()["outputs"][0]["data"] == VALUES["INT8"]


async def test_the_gateways_headers_are_answered(worker: Running) -> None:
    body = orjson.dumps(
        {"inputs": [json_tensor(name) for name in models.TYPES], "outputs": [{"name": "y_INT8"}]}
    )
    headers = {"turnout-attempt": "abc123", "turnout-record": "y_INT64", "turnout-timeout-ms": "5000"}
    status, found, _ = await ask(worker.port, request(body, headers=headers))
    assert status == 200
    assert found["turnout-version"] == "1"
    token, digest = found["turnout-attempt"].split(";")
    assert token == "abc123"
    assert httpx2.get(f"{worker.url}/v2/models/m").json()["properties"]["digest"].startswith(digest)
    assert len(digest) == 12
    assert orjson.loads(found["turnout-output"]) == [VALUES["INT64"]]
    assert int(found["turnout-worker-us"]) >= 0
    status, found, _ = await ask(worker.port, request(body, headers={"turnout-record": "*"}))
    assert orjson.loads(found["turnout-output"]) == [VALUES["BOOL"]]
    assert "turnout-attempt" not in found
    assert "turnout-output" not in (await ask(worker.port, request(body)))[1]


async def test_an_error_also_answers_the_attempt(worker: Running) -> None:
    status, found, body = await ask(worker.port, request(b"{}", headers={"turnout-attempt": "abc123"}))
    assert (status, found["turnout-error"], found["turnout-version"]) == (400, "invalid_input", "1")
    assert found["turnout-attempt"].startswith("abc123;")
    assert list(orjson.loads(body)) == ["error"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-encoding": "gzip"}, 415, "unsupported_media_type"),
        ({"turnout-timeout-ms": "soon"}, 400, "bad_request"),
        ({"turnout-timeout-ms": "0"}, 504, "deadline"),
        ({"inference-header-content-length": "x"}, 400, "bad_request"),
    ],
)
async def test_a_wrong_header_is_refused(
    worker: Running, headers: dict[str, str], status: int, code: str
) -> None:
    body = orjson.dumps({"inputs": [json_tensor(name) for name in models.TYPES]})
    found = await ask(worker.port, request(body, headers=headers))
    assert (found[0], found[1]["turnout-error"]) == (status, code)


@pytest.mark.parametrize(
    "path", ["/v2/models/m/infer?x=1", "/v2/models/%6d/infer", "/v2/models/m/versions/%31/infer"]
)
async def test_an_unusual_spelling_of_the_address_is_understood(worker: Running, path: str) -> None:
    body = orjson.dumps({"inputs": [json_tensor(name) for name in models.TYPES]})
    assert (await ask(worker.port, request(body, path=path)))[0] == 200


async def test_depth_bombs_are_refused_within_milliseconds(worker: Running) -> None:
    for bomb in (
        b'{"inputs":[{"name":"x_INT8","data":' + b"[" * 100_000,
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
    ):
        status, headers, _ = await ask(worker.port, request(bomb))
        assert (status, headers["turnout-error"]) in ((400, "invalid_json"), (400, "invalid_input"))


def test_the_metrics_count_what_was_done(client: httpx2.Client) -> None:
    client.post("/v2/models/m/infer", content=b"{}")
    text = client.get("/metrics").text
    counted = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line[0] != "#"
    }
    assert counted['turnout_worker_requests_total{outcome="invalid_input"}'] >= 1
    assert counted['turnout_worker_requests_total{outcome="ok"}'] >= 1
    assert counted["turnout_worker_batch_rows_count"] == counted["turnout_worker_run_seconds_count"]
    assert counted["turnout_worker_predictions_total"] == counted["turnout_worker_batch_rows_sum"]


def test_one_line_says_where_it_listens(worker: Running) -> None:
    lines = [line for line in Path(worker.log).read_text().splitlines() if "is ready on" in line]
    assert len(lines) == 1
    assert str(worker.port) in lines[0]
