"""Replies as bytes, and the recorded line."""

from typing import Any

import numpy as np
import orjson
import pytest

from gateway.contract.record import MAX_OUTPUT_BYTES
from gateway.contract.signature import Signature, TensorSpec
from workers.protocol import InferRequest
from workers.replies import ReplyWriter
from workers.shares import Outputs, Results, Share, Whole

SIGNATURE = Signature(
    inputs=(TensorSpec(name="X", datatype="FP32", shape=(-1, 4)),),
    outputs=(
        TensorSpec(name="label", datatype="INT64", shape=(-1,)),
        TensorSpec(name="score", datatype="FP32", shape=(-1, 2)),
        TensorSpec(name="text", datatype="BYTES", shape=(-1, 1)),
    ),
)
WRITER = ReplyWriter("m", "1", SIGNATURE)


def arrays(rows: int) -> list[Any]:
    text = np.array([f"row {row}" for row in range(rows)], dtype=object).reshape(rows, 1)
    return [np.arange(rows), np.arange(rows * 2, dtype=np.float32).reshape(rows, 2) / 10, text]


def outputs(rows: int) -> Outputs:
    return Whole(arrays(rows))


def asked(*places: int, binary: tuple[bool, ...] = (), request_id: str | None = None) -> InferRequest:
    return InferRequest(request_id, [], places, binary or (False,) * len(places))


def test_json_names_the_version_echoes_the_id_and_writes_data_flat() -> None:
    head, body = WRITER.write(asked(0, 1, 2, request_id='a"b'), outputs(2))
    assert head == b"content-type: application/json\r\n"
    assert orjson.loads(body) == {
        "model_name": "m",
        "model_version": "1",
        "id": 'a"b',
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [2], "data": [0, 1]},
            {"name": "score", "datatype": "FP32", "shape": [2, 2], "data": [0.0, 0.1, 0.2, 0.3]},
            {"name": "text", "datatype": "BYTES", "shape": [2, 1], "data": ["row 0", "row 1"]},
        ],
    }


def test_without_an_id_there_is_none_and_only_outputs_asked_for_come() -> None:
    document = orjson.loads(WRITER.write(asked(2, 0), outputs(1))[1])
    assert "id" not in document
    assert [output["name"] for output in document["outputs"]] == ["text", "label"]


def test_binary_outputs_follow_the_json_in_its_order() -> None:
    head, body = WRITER.write(asked(0, 1, 2, binary=(True, False, True)), outputs(2))
    lines = dict(line.split(": ") for line in head.decode().split("\r\n")[:-1])
    assert lines["content-type"] == "application/octet-stream"
    size = int(lines["inference-header-content-length"])
    label, score, text = orjson.loads(body[:size])["outputs"]
    assert label["parameters"] == {"binary_data_size": 16}
    assert "data" not in label
    assert score["data"] == [0.0, 0.1, 0.2, 0.3]
    assert np.frombuffer(body[size : size + 16], "<i8").tolist() == [0, 1]
    assert body[size + 16 :] == b"\x05\x00\x00\x00row 0\x05\x00\x00\x00row 1"
    assert text["parameters"] == {"binary_data_size": 18}


def test_nan_is_null_in_json_and_itself_in_binary() -> None:
    made = arrays(1)
    made[1] = np.array([[np.nan, np.inf]], np.float32)
    share = Whole(made)
    assert orjson.loads(WRITER.write(asked(1), share)[1])["outputs"][0]["data"] == [None, None]
    raw = WRITER.write(asked(1, binary=(True,)), share)[1][-8:]
    assert np.isnan(np.frombuffer(raw, "<f4")[0])


@pytest.mark.parametrize(
    ("name", "rows", "line"),
    [
        (b"label", 1, b"0"),
        (b"label", 3, b"[0,1,2]"),
        (b"score", 1, b"[[0.0,0.1]]"),
        (b"score", 2, b"[[0.0,0.1],[0.2,0.3]]"),
        (b"text", 1, b'"row 0"'),
        (b"text", 2, b'["row 0","row 1"]'),
        (b"*", 1, b"0"),
        (b"unknown", 2, b"[0,1]"),
    ],
)
def test_the_recorded_output_is_a_scalar_for_one_row_and_a_list_for_several(
    name: bytes, rows: int, line: bytes
) -> None:
    assert WRITER.recorded(name, outputs(rows)) == line


def test_the_recorded_line_is_printable_ascii() -> None:
    made = arrays(1)
    made[2] = np.array([['é\r\n\x7f\x00"😀']], dtype=object)
    line = WRITER.recorded(b"text", Whole(made))
    assert line is not None
    assert all(0x20 <= byte < 0x7F for byte in line)
    assert orjson.loads(line) == made[2][0, 0]


def test_nan_is_recorded_as_null() -> None:
    signature = Signature(
        inputs=SIGNATURE.inputs, outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 1)),)
    )
    writer = ReplyWriter("m", "1", signature)
    assert writer.recorded(b"y", Whole([np.array([[np.nan]], np.float32)])) == b"null"
    assert writer.recorded(b"y", Whole([np.array([[2.0]], np.float32)])) == b"2.0"


def test_a_long_output_is_not_recorded() -> None:
    assert WRITER.recorded(b"label", outputs(MAX_OUTPUT_BYTES)) is None
    assert WRITER.recorded(b"label", outputs(500)) is not None
    assert WRITER.recorded(b"score", outputs(500)) is None


PLAIN = InferRequest(None, [], (0, 1, 2), (False,) * 3, is_plain=True)


@pytest.mark.parametrize("request_", [PLAIN, asked(2, 0), asked(0, 1, 2, request_id="i")])
@pytest.mark.parametrize("name", [b"label", b"score", b"text"])
def test_a_caller_who_shared_a_run_gets_the_bytes_that_a_run_of_its_own_would_give(
    request_: InferRequest, name: bytes
) -> None:
    together = arrays(5)
    together[1][3, 1] = np.nan
    results = Results(together)
    for start, end in ((0, 1), (1, 3), (3, 4), (4, 5), (0, 5)):
        alone = Whole([array[start:end] for array in together])
        shared = Share(results, start, end)
        assert WRITER.write(request_, shared) == WRITER.write(request_, alone)
        assert WRITER.recorded(name, shared) == WRITER.recorded(name, alone)


def test_the_usual_reply_is_the_same_as_the_one_put_together_by_parts() -> None:
    for rows in (1, 3, 1):
        assert WRITER.write(PLAIN, outputs(rows)) == WRITER.write(asked(0, 1, 2), outputs(rows))


def test_percent_signs_in_names_are_no_format() -> None:
    signature = Signature(
        inputs=SIGNATURE.inputs, outputs=(TensorSpec(name="100%b%", datatype="FP32", shape=(-1,)),)
    )
    writer = ReplyWriter("m%d", "%", signature)
    plain = InferRequest(None, [], (0,), (False,), is_plain=True)
    document = orjson.loads(writer.write(plain, Whole([np.ones(1, np.float32)]))[1])
    assert (document["model_name"], document["model_version"]) == ("m%d", "%")
    assert document["outputs"][0]["name"] == "100%b%"
