"""What is read in one pass is what reading step by step gives; what is not, is left to that."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.errors import CallerError
from gateway.contract.signature import Signature, TensorSpec
from workers.protocol import RequestReader
from workers.typed import TypedReader

OUTPUTS = (TensorSpec(name="y", datatype="FP32", shape=(-1,)),)


def signature(*specs: tuple[str, Any, tuple[int, ...]]) -> Signature:
    inputs = [TensorSpec(name=name, datatype=datatype, shape=shape) for name, datatype, shape in specs]
    return Signature(inputs=tuple(inputs), outputs=OUTPUTS)


SIGNATURES = [
    signature(("x", "FP32", (-1, 2))),
    signature(("x", "INT8", (-1,))),
    signature(("x", "FP16", (-1, -1))),
    signature(("x", "UINT64", (2, -1, 1))),
    signature(("x", "FP64", (-1, 2)), ("z", "INT32", (-1, 1))),
]
DATATYPES = st.sampled_from(["FP32", "INT8", "FP16", "UINT64", "FP64", "INT32", "BOOL", "fp32"])
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.5, -0.0, 1.0, 127, 128, 65520.0, 1e39, 2**63, 2**64, -(2**63) - 1, 10**30]),
    st.floats(allow_nan=False, allow_infinity=False),
)
ODD: st.SearchStrategy[Any] = st.sampled_from([None, True, "1", [], {}, [[1]]])


@st.composite
def data(draw: st.DrawFn, shape: list[int]) -> Any:
    """Values for a shape, flat or nested; now and then with something odd in it."""
    count = int(np.prod([abs(size) for size in shape])) if shape else 1
    values: list[Any] = draw(st.lists(NUMBERS, min_size=count, max_size=count))
    if draw(st.integers(0, 5)) == 0:
        values.insert(draw(st.integers(0, len(values))), draw(st.one_of(NUMBERS, ODD)))
    elif draw(st.booleans()):
        for size in reversed(shape[1:]):
            values = [values[at : at + size] for at in range(0, len(values), max(1, size))]
        if draw(st.integers(0, 5)) == 0:
            values.append(draw(st.one_of(NUMBERS, ODD)))
    return values


@st.composite
def requests(draw: st.DrawFn, signature: Signature) -> bytes:
    tensors = []
    for spec in signature.inputs:
        is_right = draw(st.integers(0, 9)) > 0
        shape = [size if size > 0 else draw(st.integers(1, 3)) for size in spec.shape]
        if not is_right:
            shape = draw(st.lists(st.integers(-1, 3), max_size=3))
        tensor: dict[str, Any] = {
            "name": spec.name if is_right else draw(st.sampled_from(["x", "z", "other"])),
            "datatype": spec.datatype if is_right else draw(DATATYPES),
            "shape": shape,
            "data": draw(data(shape)),
        }
        if draw(st.integers(0, 9)) == 0:
            tensor["parameters"] = draw(st.sampled_from([None, {}, {"binary_data_size": 4}, {"a": 1}]))
        if draw(st.integers(0, 9)) == 0:
            del tensor[draw(st.sampled_from(sorted(tensor)))]
        tensors.append(tensor)
    if draw(st.integers(0, 5)) == 0:
        tensors = draw(st.permutations([*tensors, *draw(st.sampled_from([[], tensors[:1]]))]))
    document: dict[str, Any] = {"inputs": tensors}
    more = {"id": "i", "parameters": {"binary_data_output": True}, "outputs": [{"name": "y"}], "other": 1}
    for name in draw(st.sets(st.sampled_from(sorted(more)))):
        document[name] = more[name]
    text = json.dumps(document).encode()
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 19)) == 0 else text


def outcome(reader: RequestReader, body: bytes) -> Any:
    try:
        found = reader.read(body, None)
    except CallerError as error:
        return error.code, error.message
    arrays = [(array.dtype, array.shape, array.tobytes()) for array in found.inputs]
    return found.request_id, found.wanted, found.binary, found.is_plain, arrays


@pytest.mark.parametrize("which", range(len(SIGNATURES)))
def test_reading_in_one_pass_gives_what_reading_step_by_step_gives(which: int) -> None:
    in_one_pass, step_by_step = RequestReader(SIGNATURES[which]), RequestReader(SIGNATURES[which])
    step_by_step._typed = None

    @given(requests(SIGNATURES[which]))
    def agree(body: bytes) -> None:
        assert outcome(in_one_pass, body) == outcome(step_by_step, body)

    agree()


@pytest.mark.parametrize("text", ["[[1,2],[3,4]]", "[1,2,3,4]", "[ [1, 2] , [3, 4] ]"])
def test_flat_and_nested_data_are_read_in_one_pass(text: str) -> None:
    reader = TypedReader(SIGNATURES[0])
    tensor = f'{{"name":"x","datatype":"FP32","shape":[2,2],"data":{text}}}'
    read = reader.read(f'{{"id":"i","inputs":[{tensor}]}}'.encode())
    assert read is not None
    assert read[0].id == "i"
    assert read[1][0].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "text", ["[[1,2,3,4]]", "[[1],[2,3,4]]", "[[1,2],[3]]", "[1,2,[3,4]]", "[[1,2],3,4]"]
)
def test_lists_of_other_lengths_than_the_shape_says_do_not_fit(text: str) -> None:
    tensor = f'{{"name":"x","datatype":"FP32","shape":[2,2],"data":{text}}}'
    body = f'{{"inputs":[{tensor}]}}'.encode()
    assert TypedReader(SIGNATURES[0]).read(body) is None
    with pytest.raises(CallerError, match="Input 'x': expected"):
        RequestReader(SIGNATURES[0]).read(body, None)


def test_several_inputs_in_the_models_order_are_read_in_one_pass_and_in_another_order_step_by_step() -> None:
    x = {"name": "x", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}
    z = {"name": "z", "datatype": "INT32", "shape": [1, 1], "data": [3]}
    reader = RequestReader(SIGNATURES[4])
    assert reader._typed is not None
    bodies = [orjson.dumps({"inputs": tensors}) for tensors in ([x, z], [z, x])]
    assert [reader._typed.read(body) is None for body in bodies] == [False, True]
    for body in bodies:
        assert [array.tolist() for array in reader.read(body, None).inputs] == [[[1, 2]], [[3]]]


@pytest.mark.parametrize(
    "spec", [("x", "BYTES", (-1,)), ("x", "BOOL", (-1,)), ("x", "FP32", ())], ids=["BYTES", "BOOL", "scalar"]
)
def test_signatures_that_are_not_read_in_one_pass_say_so(spec: Any) -> None:
    with pytest.raises(ValueError, match="one pass"):
        TypedReader(signature(spec))
    assert RequestReader(signature(spec))._typed is None
