"""Which files are models, what they take and give, and which are refused before anything loads them."""

import gzip
import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from gateway.contract.errors import CallerError
from gateway.contract.signature import TensorSpec
from tests.workers import models
from workers.artifact import MAX_NESTING, inspect, read_artifact
from workers.fetch import artifact_path
from workers.runtimes.onnx import OnnxModel


def test_the_signature_is_read_from_the_file() -> None:
    found = inspect(models.linear())
    assert found.signature.inputs == (TensorSpec(name="X", datatype="FP32", shape=(-1, 4)),)
    assert found.signature.outputs == (
        TensorSpec(name="total", datatype="FP32", shape=(-1,)),
        TensorSpec(name="twice", datatype="FP32", shape=(-1, 4)),
    )
    assert found.opsets == {"ai.onnx": 17}


@pytest.mark.parametrize("datatype", models.TYPES)
def test_every_datatype_of_the_protocol_is_known(datatype: str) -> None:
    (spec,) = inspect(models.identity(datatype)).signature.inputs
    assert (spec.datatype, spec.shape) == (datatype, (-1, 3))


def test_inputs_that_have_a_value_in_the_file_need_not_be_given() -> None:
    old = onnx.load_model_from_string(models.linear())
    old.ir_version = 3
    old.graph.input.append(helper.make_tensor_value_info("ones", TensorProto.FLOAT, [4]))
    assert [spec.name for spec in inspect(old.SerializeToString()).signature.inputs] == ["X"]


def test_an_output_of_unknown_shape_has_one_free_dimension() -> None:
    model = onnx.load_model_from_string(models.linear())
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert inspect(model.SerializeToString()).signature.outputs[0].shape == (-1,)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.onnx", models.linear())
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../model.onnx"))
    return file.getvalue()


def bfloat16() -> bytes:
    model = onnx.load_model_from_string(models.linear())
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.BFLOAT16
    data: bytes = model.SerializeToString()
    return data


def sequence() -> bytes:
    value = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, [None])
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    return models.model([node], [models.tensor("x", "FP32", [None])], [value])


def shapeless() -> bytes:
    model = onnx.load_model_from_string(models.linear())
    model.graph.input[0].type.tensor_type.ClearField("shape")
    data: bytes = model.SerializeToString()
    return data


def inside(node: onnx.NodeProto, depth: int) -> bytes:
    """The node, `depth` graphs deep in If nodes."""
    y = models.tensor("y", "FP32", [None])
    plain = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "plain", [], [y])
    for _ in range(depth):
        branch = helper.make_graph([node], "branch", [], [y])
        node = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=plain)
    x = models.tensor("x", "FP32", [None])
    return models.model([node], [x, models.tensor("yes", "BOOL", [])], [y])


def twice() -> bytes:
    model = onnx.load_model_from_string(models.linear())
    model.graph.initializer[0].float_data.append(1.0)
    data: bytes = model.SerializeToString()
    return data


def external_in_a_constant() -> bytes:
    weight = onnx.TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=[3])
    weight.data_location = onnx.TensorProto.EXTERNAL
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("Add", ["x", "w"], ["y"]),
    ]
    return models.model(nodes, [models.tensor("x", "FP32", [3])], [models.tensor("y", "FP32", [3])])


def operator_in_a_function() -> bytes:
    made = helper.make_function(
        "own", "Own", ["a"], ["b"], [helper.make_node("Escape", ["a"], ["b"], domain="evil")],
        [helper.make_opsetid("evil", 1)],
    )  # fmt: skip
    node = helper.make_node("Own", ["x"], ["y"], domain="own")
    x, y = models.tensor("x", "FP32", [None]), models.tensor("y", "FP32", [None])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return models.model([node], [x], [y], functions=[made], opsets=opsets)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty"),
    "random": (lambda: bytes(range(256)) * 9, "not an ONNX file"),
    "cut short": (lambda: models.linear()[:-20], "not an ONNX file"),
    "text": (lambda: b'{"a": 1}', "not an ONNX file"),
    "pickle": (lambda: pickle.dumps({"a": 1}), "pickle"),
    "zip": (zipped, "zip"),
    "tar": (tarred, "tar"),
    "gzip": (lambda: gzip.compress(models.linear()), "gzip"),
    "pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "ort format": (lambda: b"\x00\x00\x00\x00ORTM" + bytes(100), "own format"),
    "external data": (models.external, "another file"),
    "external data in a constant": (external_in_a_constant, "'hidden'.*another file"),
    "unknown domain": (lambda: models.with_operator("Launch", "evil.ops"), "Launch.*'evil.ops'"),
    "unknown domain in a function": (operator_in_a_function, "Escape.*'evil'"),
    "EPContext": (lambda: models.with_operator("EPContext", "com.microsoft"), "EPContext"),
    "PyOp": (lambda: models.with_operator("PyOp", "ai.onnx.ml"), "PyOp"),
    "PyOp inside a branch": (lambda: inside(helper.make_node("PyOp", ["x"], ["y"]), 3), "PyOp"),
    "values twice": (twice, "twice"),
    "bfloat16": (bfloat16, "BFLOAT16"),
    "sequence": (sequence, "sequence.*zipmap"),
    "shapeless input": (shapeless, "'X' has no shape"),
    "empty dimension": (lambda: models.identity("FP32", [None, 0]), "dimension of 0"),
    "no input": (
        lambda: models.model(
            [helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.zeros(1)))],
            [],
            [models.tensor("y", "FP64", [1])],
        ),
        "no input",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_no_plain_model_is_refused_with_a_reason(case: str) -> None:
    make, reason = REFUSED[case]
    with pytest.raises(CallerError, match=reason) as raised:
        inspect(make())
    assert raised.value.code == "invalid_input"
    assert raised.value.message.startswith("the model file is refused: ")


def test_operators_of_microsofts_domain_and_own_functions_are_known() -> None:
    assert inspect(models.with_operator("Gelu", "com.microsoft")).signature.inputs[0].name == "x"
    made = helper.make_function(
        "own", "Own", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    node = helper.make_node("Own", ["x"], ["y"], domain="own")
    x, y = models.tensor("x", "FP32", [None]), models.tensor("y", "FP32", [None])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    assert inspect(models.model([node], [x], [y], functions=[made], opsets=opsets)).opsets["own"] == 1


def test_graphs_in_graphs_end_somewhere() -> None:
    inspect(inside(helper.make_node("Neg", ["x"], ["y"]), MAX_NESTING))
    with pytest.raises(CallerError, match="nested more than"):
        inspect(inside(helper.make_node("Neg", ["x"], ["y"]), MAX_NESTING + 1))


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_file_is_too_strange(noise: bytes, at: int) -> None:
    data = models.linear()
    with suppress(CallerError):  # a refusal is fine; any other error fails this test
        assert inspect(data[:at] + noise + data[at + len(noise) :]).signature.inputs


def test_what_the_runtime_refuses_is_told_in_one_line() -> None:
    data = models.with_operator("NoSuchOperator", "ai.onnx.ml")
    with pytest.raises(CallerError, match=r"ONNX Runtime refuses the model: .*NoSuchOperator") as raised:
        OnnxModel(data, inspect(data).signature, threads=1)
    assert "\n" not in raised.value.message


def test_the_bytes_that_are_read_are_the_bytes_whose_digest_was_checked(tmp_path: Path) -> None:
    data = models.linear()
    digest = hashlib.sha256(data).hexdigest()
    path = artifact_path(tmp_path, digest)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    assert str(path).endswith(f"sha256/{digest[:2]}/{digest}")
    assert read_artifact(path, digest=digest, max_bytes=10**6) == (data, digest)
    path.write_bytes(data + b"\x00")
    with pytest.raises(CallerError, match="not the registered file") as raised:
        read_artifact(path, digest=digest, max_bytes=10**6)
    assert raised.value.code == "refused"


def test_a_file_over_the_limit_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with pytest.raises(CallerError, match="no model file"):
        read_artifact(path, digest=None, max_bytes=10)
    path.write_bytes(bytes(11))
    with pytest.raises(CallerError, match="larger than 10 bytes"):
        read_artifact(path, digest=None, max_bytes=10)
    with pytest.raises(CallerError, match="cannot read"):
        read_artifact(tmp_path, digest=None, max_bytes=10)
