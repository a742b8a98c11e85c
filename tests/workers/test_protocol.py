"""Requests as bytes: what is read, and what each wrong one is told."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pytest

from gateway.contract.errors import CallerError
from gateway.contract.signature import Signature, TensorSpec
from workers.protocol import RequestReader

DIGITS = Signature(
    inputs=(TensorSpec(name="X", datatype="FP32", shape=(-1, 4)),),
    outputs=(
        TensorSpec(name="label", datatype="INT64", shape=(-1,)),
        TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 10)),
    ),
)


def one(datatype: Any, shape: tuple[int, ...]) -> Signature:
    return Signature(inputs=(TensorSpec(name="x", datatype=datatype, shape=shape),), outputs=DIGITS.outputs)


TWO = Signature(
    inputs=(
        TensorSpec(name="a", datatype="INT32", shape=(-1,)),
        TensorSpec(name="b", datatype="BYTES", shape=(-1, 1)),
    ),
    outputs=DIGITS.outputs,
)


def tensor(**changes: Any) -> dict[str, Any]:
    made = {"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]} | changes
    return {name: value for name, value in made.items() if value is not None}


def body(*tensors: dict[str, Any], **members: Any) -> bytes:
    return orjson.dumps({"inputs": list(tensors) or [tensor()], **members})


def x(datatype: str, data: Any, shape: list[int] | None = None) -> bytes:
    return body({"name": "x", "shape": shape or [1], "datatype": datatype, "data": data})


def read(signature: Signature, text: bytes, length: bytes | None = None) -> Any:
    return RequestReader(signature).read(text, length)


@dataclass(frozen=True)
class Bad:
    """A wrong request, and what the refusal's sentence must contain."""

    text: bytes
    words: tuple[str, ...]
    signature: Signature
    length: bytes | None
    code: str


def bad(
    text: bytes,
    *words: str,
    signature: Signature = DIGITS,
    length: bytes | None = None,
    code: str = "invalid_input",
) -> Bad:
    return Bad(text, words, signature, length, code)


BAD = {
    "empty body": bad(b"", "JSON", code="invalid_json"),
    "truncated": bad(body()[:-3], "truncated", code="invalid_json"),
    "not JSON": bad(b"hello", "not valid JSON", code="invalid_json"),
    "trailing": bad(body() + b"x", "trailing", code="invalid_json"),
    "byte order mark": bad(b"\xef\xbb\xbf" + body(), "JSON", code="invalid_json"),
    "UTF-16": bad(body().decode().encode("utf-16"), "JSON", code="invalid_json"),
    "NaN": bad(body().replace(b",2,", b",NaN,"), "JSON", code="invalid_json"),
    "Infinity": bad(body().replace(b",2,", b",-Infinity,"), "JSON", code="invalid_json"),
    "half a character": bad(b'{"inputs":[],"id":"\\ud800"}', "JSON", code="invalid_json"),
    "bomb in data": bad(b'{"inputs":[{"name":"X","data":' + b"[" * 100000, "deep", code="invalid_json"),
    "bomb elsewhere": bad(b'{"z":' * 100000, "deep", code="invalid_json"),
    "a list": bad(b"[]", "object", "array"),
    "no inputs": bad(b"{}", "inputs"),
    "inputs empty": bad(b'{"inputs":[]}', "'X'", "missing"),
    "inputs object": bad(b'{"inputs":{}}', "array", "object"),
    "id a number": bad(body(id=7), "str", "int", "id"),
    "parameters nested": bad(body(parameters={"a": {}}), "parameters"),
    "parameter null": bad(body(parameters={"a": None}), "null", "parameters"),
    "unknown input": bad(body(tensor(name="Y")), "'Y'", "'X'"),
    "input twice": bad(body(tensor(), tensor()), "'X'", "twice"),
    "one of two missing": bad(
        body(tensor(name="b", datatype="BYTES", shape=[1, 1], data=["q"])), "'a'", "missing", signature=TWO
    ),
    "no name": bad(body(tensor(name=None)), "name"),
    "no shape": bad(body(tensor(shape=None)), "shape"),
    "no data": bad(body(tensor(data=None)), "'X'", "data"),
    "datatype": bad(body(tensor(datatype="FP64")), "'X'", "FP32", "'FP64'"),
    "datatype unheard of": bad(body(tensor(datatype="float")), "FP32", "'float'"),
    "rank": bad(body(tensor(shape=[4])), "[-1, 4]", "1 dimensions", "[4]"),
    "1000 dimensions": bad(body(tensor(shape=[1] * 1000)), "1000 dimensions", "..."),
    "fixed dimension": bad(body(tensor(shape=[1, 5])), "[-1, 4]", "[1, 5]"),
    "negative dimension": bad(body(tensor(shape=[-1, 4])), "[-1, 4]", "1 or more"),
    "zero rows": bad(body(tensor(shape=[0, 4], data=[])), "[0, 4]", "1 or more"),
    "dimension a fraction": bad(body(tensor(shape=[1.5, 4])), "int", "float", "shape"),
    "overflowing product": bad(
        x("FP32", [1], [2**31, 2**33]), str(2**64), "got 1", signature=one("FP32", (-1, -1))
    ),
    "too few values": bad(body(tensor(data=[1, 2, 3])), "'X'", "4 values", "got 3"),
    "too many values": bad(body(tensor(data=[1] * 5)), "4 values", "got 5"),
    "no values": bad(body(tensor(data=[])), "4 values", "got 0"),
    "short row": bad(body(tensor(shape=[2, 4], data=[[1, 2, 3, 4], [1, 2, 3]])), "lists of 4", "one of 3"),
    "one row too many": bad(body(tensor(data=[[1, 2, 3, 4]] * 2)), "lists of 1", "one of 2"),
    "nested too deep": bad(body(tensor(data=[[[1], [2]]])), "2 deep", "[0][0]", "a list"),
    "nested unevenly": bad(body(tensor(data=[[1, 2], 3, 4])), "nested alike", "[1]"),
    "data an object": bad(body(tensor(data={"a": 1})), "a list", "an object"),
    "data null": bad(body().replace(b"[1,2,3,4]", b"null"), "a list", "null"),
    "string for a number": bad(body(tensor(data=[1, "2", 3, 4])), "'X'", "a number", "a string", "[1]"),
    "null for a number": bad(body(tensor(data=[1, 2, None, 4])), "a number", "null", "[2]"),
    "boolean for a number": bad(body(tensor(data=[True, 2, 3, 4])), "a number", "a boolean", "[0]"),
    "1e39 as FP32": bad(body(tensor(data=[1, 1e39, 3, 4])), "FP32", "1e+39", "value 1"),
    "1e999": bad(body().replace(b",2,", b",1e999,"), "a number beyond", "[1]"),
    "5000 digits": bad(body().replace(b",2,", b",%b," % (b"9" * 5000)), "a number beyond"),
    "300 as UINT8": bad(x("UINT8", [300]), "0 to 255", "UINT8", "300", signature=one("UINT8", (-1,))),
    "-1 as UINT64": bad(x("UINT64", [-1]), "UINT64", "-1", signature=one("UINT64", (-1,))),
    "fraction as INT64": bad(x("INT64", [1.5]), "whole number", "fraction", signature=one("INT64", (-1,))),
    "boolean as INT64": bad(x("INT64", [True]), "whole number", "a boolean", signature=one("INT64", (-1,))),
    "1 as BOOL": bad(x("BOOL", [1]), "true or false", "a whole number", signature=one("BOOL", (-1,))),
    "number as BYTES": bad(x("BYTES", [1]), "a string", "a whole number", signature=one("BYTES", (-1,))),
    "half a character in BYTES": bad(
        x("BYTES", ["?"]).replace(b"?", b"\\ud800"),
        "JSON",
        signature=one("BYTES", (-1,)),
        code="invalid_json",
    ),
    "not UTF-8 in BYTES": bad(
        x("BYTES", ["?"]).replace(b"?", b"\xff"), "'x'", "not valid JSON", signature=one("BYTES", (-1,))
    ),
    "unknown output": bad(body(outputs=[{"name": "y"}]), "'y'", "'label'"),
    "output twice": bad(body(outputs=[{"name": "label"}] * 2), "'label'", "twice"),
    "binary_data a number": bad(
        body(outputs=[{"name": "label", "parameters": {"binary_data": 1}}]), "binary_data", "1"
    ),
    "length not a number": bad(body(), "Inference-Header-Content-Length", length=b"ten", code="bad_request"),
    "length negative": bad(body(), "whole number", length=b"-1", code="bad_request"),
    "length beyond the body": bad(body(), "100000", length=b"100000", code="bad_request"),
    "bytes nobody names": bad(body() + bytes(8), "8 bytes", length=str(len(body())).encode()),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_request_is_told_what_was_expected_and_what_came(case: str) -> None:
    wrong = BAD[case]
    started = time.thread_time()
    with pytest.raises(CallerError) as raised:
        read(wrong.signature, wrong.text, wrong.length)
    assert time.thread_time() - started < 2
    assert raised.value.code == wrong.code
    assert [word for word in wrong.words if word not in raised.value.message] == []


def with_binary(part: bytes, *, size: Any = None, **changes: Any) -> tuple[bytes, bytes]:
    size = len(part) if size is None else size
    given = tensor(data=None, parameters={"binary_data_size": size}) | changes
    head = body(given)
    return head + part, str(len(head)).encode()


ROW = np.arange(4, dtype=np.float32).tobytes()
BAD_BINARY: dict[str, tuple[bytes, dict[str, Any], list[str]]] = {
    "too short": (ROW[:-1], {}, ["16 bytes", "got 15"]),
    "too long": (ROW + b"\x00", {}, ["16 bytes", "got 17"]),
    "size beyond the body": (ROW, {"size": 20}, ["20 bytes", "got 16"]),
    "size within the body": (ROW, {"size": 12}, ["16 bytes", "got 12"]),
    "size negative": (ROW, {"size": -16}, ["binary_data_size", "-16"]),
    "size a string": (ROW, {"size": "16"}, ["binary_data_size", "'16'"]),
    "size true": (ROW, {"size": True}, ["binary_data_size", "True"]),
    "both": (ROW, {"data": [1, 2, 3, 4]}, ["both"]),
    "shape": (ROW, {"shape": [2, 4]}, ["32 bytes", "got 16"]),
}


@pytest.mark.parametrize("case", BAD_BINARY)
def test_a_wrong_binary_tensor_is_told_the_sizes(case: str) -> None:
    part, changes, words = BAD_BINARY[case]
    text, length = with_binary(part, **changes)
    with pytest.raises(CallerError) as raised:
        read(DIGITS, text, length)
    assert raised.value.code == "invalid_input"
    assert [word for word in words if word not in raised.value.message] == []


def test_the_order_of_inputs_is_the_callers_the_arrays_are_in_the_models() -> None:
    text = body(
        {"name": "b", "shape": [1, 1], "datatype": "BYTES", "data": ["é"]},
        {"name": "a", "shape": [1], "datatype": "INT32", "data": [7]},
    )
    a, b = read(TWO, text).inputs
    assert a.tolist() == [7]
    assert b.tolist() == [["é"]]


def test_json_and_binary_inputs_may_be_mixed() -> None:
    part = np.array([7, 8], np.int32).tobytes()
    head = body(
        {"name": "b", "shape": [2, 1], "datatype": "BYTES", "data": [["p"], ["q"]]},
        {"name": "a", "shape": [2], "datatype": "INT32", "parameters": {"binary_data_size": len(part)}},
    )
    a, b = read(TWO, head + part, str(len(head)).encode()).inputs
    assert a.tolist() == [7, 8]
    assert b.tolist() == [["p"], ["q"]]


def test_outputs_are_all_or_those_asked_for_each_as_json_or_binary() -> None:
    assert read(DIGITS, body()).wanted == (0, 1)
    assert read(DIGITS, body(outputs=[])).wanted == (0, 1)
    assert read(DIGITS, body(parameters={"binary_data_output": True})).binary == (True, True)
    asked = read(
        DIGITS,
        body(
            parameters={"binary_data_output": True, "priority": 1, "user": "u", "share": 0.5},
            outputs=[{"name": "probabilities", "parameters": {"binary_data": False}}, {"name": "label"}],
        ),
    )
    assert asked.wanted == (1, 0)
    assert asked.binary == (False, True)


def test_members_that_the_protocol_does_not_name_are_ignored() -> None:
    assert read(DIGITS, body(tensor(extra=1), model_name="m", id="i")).request_id == "i"


def test_white_space_inside_data_is_no_matter() -> None:
    text = body().replace(b"[1,2,3,4]", b"[ \n [ 1 , 2 ,\t3, 4 ] ]")
    assert read(DIGITS, text).inputs[0].tolist() == [[1, 2, 3, 4]]


def test_a_raw_request_is_one_row_of_the_only_input_and_all_outputs_come_back_raw() -> None:
    request = read(DIGITS, ROW, b"0")
    assert request.inputs[0].tolist() == [[0, 1, 2, 3]]
    assert request.binary == (True, True)


def test_a_raw_request_may_leave_one_dimension_to_its_length() -> None:
    assert read(one("FP32", (-1,)), ROW, b"0").inputs[0].shape == (4,)
    assert read(one("FP32", (-1, -1, 2)), ROW, b"0").inputs[0].shape == (1, 2, 2)
    assert read(one("BYTES", (-1,)), b"text", b"0").inputs[0].tolist() == ["text"]
    assert read(one("BYTES", (-1, 1)), b"text", b"0").inputs[0].tolist() == [["text"]]


@pytest.mark.parametrize(
    ("signature", "text", "words"),
    [
        (TWO, ROW, ["2", "JSON"]),
        (DIGITS, b"", ["empty"]),
        (DIGITS, ROW * 2, ["16 bytes", "got 32"]),
        (one("FP32", (-1, -1, -1)), ROW, ["2 dimensions"]),
        (one("FP32", (-1, 3, -1)), ROW, ["multiple of 12", "16"]),
        (one("BYTES", (-1, 2)), b"text", ["one BYTES element"]),
        (one("BYTES", (-1,)), b"\xff", ["UTF-8"]),
    ],
)
def test_a_raw_request_that_does_not_fit_is_told_why(
    signature: Signature, text: bytes, words: list[str]
) -> None:
    with pytest.raises(CallerError) as raised:
        read(signature, text, b"0")
    assert [word for word in words if word not in raised.value.message] == []


def test_a_scalar_input_takes_one_value() -> None:
    assert read(one("INT64", ()), x("INT64", [5], []).replace(b"[1]", b"[]", 1)).inputs[0].shape == ()
