"""Every datatype, in JSON and as raw bytes, comes back as it went."""

from contextlib import suppress
from math import prod
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gateway.contract.errors import CallerError
from gateway.contract.signature import ITEM_BYTES, TensorSpec
from workers.tensors import FORMATS, JsonTensor, read_binary, to_binary

NUMERIC = sorted(ITEM_BYTES)
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)


def elements(datatype: str) -> Any:
    kind = FORMATS[datatype].dtype.kind
    return {"allow_nan": False, "allow_infinity": False} if kind == "f" else {}


@st.composite
def arrays(draw: st.DrawFn) -> tuple[str, Any]:
    datatype = draw(st.sampled_from([*NUMERIC, "BYTES"]))
    shape = draw(SHAPES)
    if datatype == "BYTES":
        texts = draw(st.lists(TEXT, min_size=prod(shape), max_size=prod(shape)))
        array = np.empty(prod(shape), dtype=object)
        array[:] = texts
        return datatype, array.reshape(shape)
    return datatype, draw(hnp.arrays(FORMATS[datatype].dtype, shape, elements=elements(datatype)))


def spec_of(datatype: Any, array: Any) -> TensorSpec:
    return TensorSpec(name="x", datatype=datatype, shape=(-1, *array.shape[1:]))


def raw(data: Any) -> msgspec.Raw:
    return msgspec.Raw(orjson.dumps(data))


@given(arrays(), st.booleans())
def test_json_data_flat_or_nested_give_the_same_array_back(case: tuple[str, Any], is_nested: bool) -> None:
    datatype, array = case
    data = (array if is_nested else array.ravel()).tolist()
    read = JsonTensor(spec_of(datatype, array)).read(raw(data), list(array.shape))
    assert read.dtype == FORMATS[datatype].dtype
    assert read.shape == array.shape
    assert np.array_equal(read, array)


@given(arrays())
def test_raw_bytes_give_the_same_array_back(case: tuple[str, Any]) -> None:
    datatype, array = case
    part = to_binary(array, datatype)
    read = read_binary(spec_of(datatype, array), memoryview(part), list(array.shape))
    assert read.shape == array.shape
    assert np.array_equal(read, array)


@given(st.sampled_from(NUMERIC), st.binary(max_size=40), st.integers(1, 6))
def test_any_bytes_are_a_tensor_or_a_clear_refusal(datatype: Any, part: bytes, rows: int) -> None:
    spec = TensorSpec(name="x", datatype=datatype, shape=(-1,))
    with suppress(CallerError):  # a refusal is fine; any other error fails this test
        assert read_binary(spec, memoryview(part), [rows]).shape == (rows,)


@given(st.binary(max_size=40), st.integers(1, 4))
def test_any_bytes_are_strings_or_a_clear_refusal(part: bytes, rows: int) -> None:
    spec = TensorSpec(name="x", datatype="BYTES", shape=(-1,))
    with suppress(CallerError):
        assert read_binary(spec, memoryview(part), [rows]).shape == (rows,)


def test_nan_and_infinity_pass_in_raw_bytes() -> None:
    part = np.array([np.nan, np.inf], np.float32).tobytes()
    read = read_binary(TensorSpec(name="x", datatype="FP32", shape=(-1,)), memoryview(part), [2])
    assert np.isnan(read[0])
    assert np.isposinf(read[1])


def test_bytes_at_an_odd_address_become_an_aligned_array() -> None:
    body = b"\x00" + np.arange(4, dtype=np.float64).tobytes()
    read = read_binary(TensorSpec(name="x", datatype="FP64", shape=(-1,)), memoryview(body)[1:], [4])
    assert read.flags.aligned
    assert read.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("datatype", "value", "is_held"),
    [
        ("FP32", 3.4028234e38, True),
        ("FP32", 1e39, False),
        ("FP32", -1e39, False),
        ("FP16", 65504.0, True),
        ("FP16", 65520.0, False),
        ("FP64", 1.7e308, True),
        ("UINT8", 255, True),
        ("UINT8", 256, False),
        ("INT8", -128, True),
        ("INT8", -129, False),
        ("UINT64", 2**64 - 1, True),
        ("UINT64", 2**64, False),
        ("INT64", -(2**63), True),
        ("INT64", 2**63, False),
        ("INT32", 2**31, False),
        ("UINT16", -1, False),
    ],
)
def test_a_value_is_held_exactly_or_refused_never_wrapped(datatype: Any, value: Any, is_held: bool) -> None:
    reader = JsonTensor(TensorSpec(name="x", datatype=datatype, shape=(-1,)))
    data = msgspec.Raw(msgspec.json.encode([0, value]))
    if is_held:
        assert float(reader.read(data, [2])[1]) == pytest.approx(float(value), rel=1e-6)
    else:
        with pytest.raises(CallerError, match=f"{datatype}.*as value 1|beyond that"):
            reader.read(data, [2])
