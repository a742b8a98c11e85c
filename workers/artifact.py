"""Is this file a model that may be served, and what does it take and give?

`read_artifact` gives the very bytes whose digest was checked, so that a file swapped later changes nothing.
`inspect` parses an ONNX file without running or loading anything, and refuses what would reach outside it or
run foreign code: external data, operators of unknown domains, EPContext blobs, Python operators, and files of
other formats (pickles, archives). Every refusal is a `CallerError` whose sentence says what to do.

Must not know: Redis, HTTP, ONNX Runtime. Called by the worker at load and by control at registration.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from gateway.contract.errors import CallerError
from gateway.contract.signature import Datatype, Signature, TensorSpec

PLATFORM = "onnx_onnxv1"
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
# Operators of the allowed domains that hold or call foreign code.
REFUSED_OPERATORS = frozenset({"EPContext", "PyOp", "PythonOp", "PythonOpGrad", "TorchScriptOp"})
MAX_NESTING = 16  # graphs inside graphs (If, Loop, Scan); exporters stay below 5

_DATATYPES: dict[int, Datatype] = {
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32",
    TensorProto.UINT64: "UINT64",
    TensorProto.INT8: "INT8",
    TensorProto.INT16: "INT16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.FLOAT16: "FP16",
    TensorProto.FLOAT: "FP32",
    TensorProto.DOUBLE: "FP64",
    TensorProto.STRING: "BYTES",
}

# (offset, first bytes, what it is). An ONNX file is a protobuf message and begins with none of these.
_OTHER_FORMATS = (
    (0, b"PK\x03\x04", "a zip archive (also .pt, .npz, .keras)"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ\x00", "an xz file"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x89HDF\r\n", "an HDF5 file (.h5)"),
    (0, b"GGUF", "a GGUF file"),
    (4, b"TFL3", "a TensorFlow Lite file"),
    (4, b"ORTM", "a model in ONNX Runtime's own format (.ort)"),
    (0, b"\x7fELF", "a program"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
)


@dataclass(frozen=True, slots=True)
class Inspected:
    """`opsets` maps operator domains to versions; `producer` is what wrote the file, for people."""

    signature: Signature
    opsets: dict[str, int]
    producer: str


def read_artifact(path: Path, *, digest: str | None, max_bytes: int) -> tuple[bytes, str]:
    """The file's bytes and their SHA-256 in hex; refuses a file that is too large or is not `digest`."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise CallerError("not_found", f"there is no model file {path}: register the version again") from None
    except OSError as error:
        raise CallerError("bad_request", f"cannot read {path}: {error.strerror}") from None
    if len(data) > max_bytes:
        raise CallerError("too_large", f"{path} is larger than {max_bytes} bytes")
    found = hashlib.sha256(data).hexdigest()
    if digest is not None and found != digest:
        raise CallerError(
            "refused",
            f"{path} is not the registered file: its SHA-256 is {found[:12]}..., registered is "
            f"{digest[:12]}...; restore it, or register it as another version",
        )
    return data, found


def inspect(data: bytes) -> Inspected:
    """What the model takes and gives; raises CallerError("invalid_input") for a file that is refused."""
    _refuse_other_formats(data)
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise _refused("it is not an ONNX file, or it was cut short") from None
    if not model.HasField("graph") or not model.graph.output:
        raise _refused("it is not an ONNX file (it holds no graph with outputs)")
    _check_operators(model)
    _check_tensors(model)
    inputs = _inputs(model.graph)
    for values in (inputs, model.graph.output):
        if len({value.name for value in values}) < len(values):
            raise _refused("two of its inputs or outputs have the same name")
    if not inputs:
        raise _refused("it takes no input, so it predicts nothing")
    return Inspected(
        signature=Signature(
            inputs=tuple(_spec("input", value) for value in inputs),
            outputs=tuple(_spec("output", value) for value in model.graph.output),
        ),
        opsets={str(opset.domain or "ai.onnx"): opset.version for opset in model.opset_import},
        producer=f"{model.producer_name} {model.producer_version}".strip(),
    )


def _refused(reason: str) -> CallerError:
    return CallerError("invalid_input", f"the model file is refused: {reason}")


def _refuse_other_formats(data: bytes) -> None:
    if not data:
        raise _refused("it is empty")
    for offset, magic, what in _OTHER_FORMATS:
        if data[offset : offset + len(magic)] == magic:
            raise _refused(f"it is {what}; export the model to ONNX")
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise _refused("it is a Python pickle (also .joblib), which could run code; export the model to ONNX")


# -- walking the model --------------------------------------------------------------------------------------


def _nodes(nodes: Iterable[NodeProto], depth: int = 0) -> Iterator[NodeProto]:
    if depth > MAX_NESTING:
        raise _refused(f"its graphs are nested more than {MAX_NESTING} deep")
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in _graphs(attribute):
                yield from _nodes(graph.node, depth + 1)


def _graphs(attribute: AttributeProto) -> Iterator[GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _bodies(model: ModelProto) -> Iterator[GraphProto | FunctionProto]:
    yield model.graph
    yield from model.functions
    for training in model.training_info:
        yield training.initialization
        yield training.algorithm


def _check_operators(model: ModelProto) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    for body in _bodies(model):
        for node in _nodes(body.node):
            if node.op_type in REFUSED_OPERATORS:
                raise _refused(f"it uses the operator {node.op_type}, which can hold code of others")
            if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
                raise _refused(f"it uses the operator {node.op_type} of the unknown domain {node.domain!r}")


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    for body in _bodies(model):
        if isinstance(body, GraphProto):
            yield from _initializers(body)
        for node in _nodes(body.node):
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
                for tensor in (*sparse, *attribute.sparse_tensors):
                    yield tensor.values
                    yield tensor.indices
                for graph in _graphs(attribute):
                    yield from _initializers(graph)


def _initializers(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices


_TYPED_DATA = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def _check_tensors(model: ModelProto) -> None:
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise _refused(
                f"the tensor {tensor.name!r} lies in another file; save the model with all data inside"
            )
        if tensor.HasField("raw_data") and any(len(getattr(tensor, field)) for field in _TYPED_DATA):
            raise _refused(f"the tensor {tensor.name!r} has its values twice")
        if any(size < 0 for size in tensor.dims):
            raise _refused(f"the tensor {tensor.name!r} has a negative dimension")


# -- the signature ------------------------------------------------------------------------------------------


def _inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """Before IR version 4 files list initializers among the inputs; they have values already."""
    given = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in given]


def _spec(role: str, value: ValueInfoProto) -> TensorSpec:
    name: object = value.name  # protobuf hands over bytes that are not UTF-8 as they are
    if not isinstance(name, str) or not name:
        raise _refused(f"an {role} has no readable name: {name!r}")
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        found = (kind or "nothing known").removesuffix("_type").replace("_", " ")
        hint = (
            "; scikit-learn models: convert with the option zipmap=False" if kind == "sequence_type" else ""
        )
        raise _refused(f"{role} {value.name!r} is of the type {found}, and must be a tensor{hint}")
    tensor = value.type.tensor_type
    datatype = _DATATYPES.get(tensor.elem_type)
    if datatype is None:
        name = next(
            (name for name, number in TensorProto.DataType.items() if number == tensor.elem_type), "?"
        )
        raise _refused(
            f"{role} {value.name!r} has the datatype {name}, which the Open Inference Protocol lacks"
        )
    if not tensor.HasField("shape"):
        if role == "input":
            raise _refused(
                f"input {value.name!r} has no shape: at least its number of dimensions must be known"
            )
        return TensorSpec(name=value.name, datatype=datatype, shape=(-1,))
    shape = tuple(dim.dim_value if dim.WhichOneof("value") == "dim_value" else -1 for dim in tensor.shape.dim)
    if 0 in shape:
        raise _refused(f"{role} {value.name!r} has a dimension of 0, so that it can hold nothing")
    return TensorSpec(name=value.name, datatype=datatype, shape=tuple(max(size, -1) for size in shape))
