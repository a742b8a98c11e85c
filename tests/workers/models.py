"""Small ONNX models made on the spot: each shows one property of a worker."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TYPES: dict[str, int] = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
Shape = list[int | str | None]


def tensor(name: str, datatype: str, shape: Shape) -> Any:
    return helper.make_tensor_value_info(name, TYPES[datatype], shape)


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], **more: Any) -> bytes:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializer=more.pop("initializer", []))
    opsets = more.pop("opsets", [helper.make_opsetid("", 17)])
    made = helper.make_model(graph, opset_imports=opsets, ir_version=10, **more)
    data: bytes = made.SerializeToString()
    return data


def identity(datatype: str, shape: Shape | None = None) -> bytes:
    """`y` is `x`."""
    dims: Shape = [None, 3] if shape is None else shape
    return model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [tensor("x", datatype, dims)],
        [tensor("y", datatype, dims)],
    )


def everything(rank_one: bool = False) -> bytes:
    """Every datatype of the protocol at once: `y_<datatype>` is `x_<datatype>`."""
    dims: Shape = [None] if rank_one else [None, 2]
    return model(
        [helper.make_node("Identity", [f"x_{name}"], [f"y_{name}"]) for name in TYPES],
        [tensor(f"x_{name}", name, dims) for name in TYPES],
        [tensor(f"y_{name}", name, dims) for name in TYPES],
    )


def linear(features: int = 4) -> bytes:
    """`total` FP32 [n] is the sum of a row of `X` FP32 [n, features]; `twice` [n, features] is 2 X."""
    ones = numpy_helper.from_array(np.ones((features,), np.float32), "ones")
    two = numpy_helper.from_array(np.array(2, np.float32), "two")
    return model(
        [
            helper.make_node("MatMul", ["X", "ones"], ["total"]),
            helper.make_node("Mul", ["X", "two"], ["twice"]),
        ],
        [tensor("X", "FP32", ["n", features])],
        [tensor("total", "FP32", ["n"]), tensor("twice", "FP32", ["n", features])],
        initializer=[ones, two],
    )


def digits_like() -> bytes:
    """`label` INT64 [n] is the largest of the first ten of `X` FP32 [n, 64]."""
    ends = [
        numpy_helper.from_array(np.array([value], np.int64), name) for name, value in (("a", 0), ("b", 10))
    ]
    axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
    return model(
        [
            helper.make_node("Slice", ["X", "a", "b", "axis"], ["ten"]),
            helper.make_node("ArgMax", ["ten"], ["label"], axis=1, keepdims=0),
        ],
        [tensor("X", "FP32", [None, 64])],
        [tensor("label", "INT64", [None])],
        initializer=[*ends, axis],
    )


def slow(rounds: int = 1000, size: int = 128) -> bytes:
    """`y` is `x` FP32 [n, 1], after some milliseconds of multiplying matrices (`rounds` / 10 or so)."""
    identity_matrix = numpy_helper.from_array(np.eye(size, dtype=np.float32), "eye")
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["square_in", "eye"], ["square_out"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("square_in", TensorProto.FLOAT, [size, size]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("square_out", TensorProto.FLOAT, [size, size]),
        ],
    )
    initializer = [
        identity_matrix,
        numpy_helper.from_array(np.array(rounds, np.int64), "rounds"),
        numpy_helper.from_array(np.array(True), "yes"),
        numpy_helper.from_array(np.array([0, 0], np.int64), "corner"),
        numpy_helper.from_array(np.array([1, 1], np.int64), "cell"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
    ]
    return model(
        [
            helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
            helper.make_node("Mul", ["top", "zero"], ["nothing"]),
            helper.make_node("Add", ["eye", "nothing"], ["start"]),  # so that it cannot be folded away
            helper.make_node("Loop", ["rounds", "yes", "start"], ["end"], body=body),
            helper.make_node("Slice", ["end", "corner", "cell"], ["one"]),
            helper.make_node("Mul", ["x", "one"], ["y"]),
        ],
        [tensor("x", "FP32", [None, 1])],
        [tensor("y", "FP32", [None, 1])],
        initializer=initializer,
    )


def poisonable() -> bytes:
    """`y` INT64 [n] is 10 * `x` INT64 [n] for 0 to 4; any other index fails in the model."""
    table = numpy_helper.from_array(np.arange(0, 50, 10, dtype=np.int64), "table")
    return model(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [tensor("x", "INT64", [None])],
        [tensor("y", "INT64", [None])],
        initializer=[table],
    )


def mixing() -> bytes:
    """`y` is `x` less the mean over all rows: rows must not share a run."""
    return model(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [tensor("x", "FP32", [None, 2])],
        [tensor("y", "FP32", [None, 2])],
    )


def external() -> bytes:
    """A weight that lies in another file."""
    weight = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3])
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return model(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [tensor("x", "FP32", [None, 3])],
        [tensor("y", "FP32", [None, 3])],
        initializer=[weight],
    )


def with_operator(op_type: str, domain: str) -> bytes:
    node = helper.make_node(op_type, ["x"], ["y"], domain=domain)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    return model([node], [tensor("x", "FP32", [None])], [tensor("y", "FP32", [None])], opsets=opsets)
