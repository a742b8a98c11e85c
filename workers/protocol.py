"""An inference request of the Open Inference Protocol: from bytes to checked arrays in the model's order.

JSON, JSON with binary tensors after it, and the raw form (`Inference-Header-Content-Length: 0`). Whatever the
content type says: clients send none. Members that the protocol does not name are ignored, since clients send
some (kserve's `model_name`); names of tensors that the model does not have are errors.

Sources: kserve/open-inference-protocol, specification/protocol/inference_rest.md; triton-inference-server,
docs/protocol/extension_binary_data.md. Every refusal is a `CallerError` that says which input, what was
expected and what came. Must not know: HTTP, queues, runtimes. Called by `workers.server`.
"""

from math import prod
from typing import Any

import msgspec

from gateway.contract.errors import CallerError
from gateway.contract.signature import ITEM_BYTES, Signature, TensorSpec
from workers.documents import NO_DATA, Input, Parameters, Request, Wishes
from workers.tensors import Array, JsonTensor, bad_tensor, read_binary, read_text, strings
from workers.typed import TypedReader

_DECODER = msgspec.json.Decoder(Request)


class InferRequest(msgspec.Struct, gc=False):
    """`wanted`: positions of the outputs to send, in the order asked for; `binary`: which of them raw.

    `is_plain`: all outputs in the model's order, as JSON, and no id.
    """

    request_id: str | None
    inputs: list[Array]
    wanted: tuple[int, ...]
    binary: tuple[bool, ...]
    is_plain: bool = False


class RequestReader:
    """Reads requests for one signature."""

    def __init__(self, signature: Signature) -> None:
        self._specs = signature.inputs
        self._place_of = {spec.name: place for place, spec in enumerate(signature.inputs)}
        self._tensors = [JsonTensor(spec) for spec in signature.inputs]
        self._output_of = {spec.name: place for place, spec in enumerate(signature.outputs)}
        try:
            self._typed: TypedReader | None = TypedReader(signature)
        except ValueError:
            self._typed = None
        self._all = tuple(range(len(signature.outputs)))
        self._none_binary = (False,) * len(self._all)
        self._all_binary = (True,) * len(self._all)

    def read(self, body: bytes, json_length: bytes | None) -> InferRequest:
        """`json_length` is the header `Inference-Header-Content-Length`, if there was one."""
        tail = memoryview(b"")
        if json_length is None:
            if self._typed is not None and (typed := self._typed.read(body)) is not None:
                wishes, inputs = typed
                return self._with_outputs(wishes, inputs)
        else:
            size = _length(json_length, len(body))
            if size == 0:
                return self._read_raw(body)
            tail = memoryview(body)[size:]  # tensors of many MiB are not copied
            body = body[:size]
        try:
            request = _DECODER.decode(body)
        except msgspec.ValidationError as error:
            raise CallerError("invalid_input", f"This is not an inference request: {_plain(error)}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CallerError("invalid_json", f"The body is not valid JSON: {error}") from None
        except RecursionError:
            raise CallerError("invalid_json", "The body is JSON nested too deeply") from None
        return self._with_outputs(request, self._read_inputs(request.inputs, tail))

    def _read_inputs(self, tensors: list[Input], tail: memoryview) -> list[Array]:
        arrays: list[Any] = [None] * len(self._specs)
        at = 0
        for tensor in tensors:
            place = self._place_of.get(tensor.name)
            if place is None:
                known = ", ".join(repr(spec.name) for spec in self._specs)
                raise bad_tensor(tensor.name, f"the model has no such input; it takes {known}")
            if arrays[place] is not None:
                raise bad_tensor(tensor.name, "it is given twice")
            spec = self._specs[place]
            _check(spec, tensor)
            if tensor.parameters is not None and "binary_data_size" in tensor.parameters:
                end = at + _binary_size(tensor, tail.nbytes - at)
                arrays[place] = read_binary(spec, tail[at:end], tensor.shape)
                at = end
            elif tensor.data is NO_DATA:
                raise bad_tensor(tensor.name, "expected `data`, or `binary_data_size` in its parameters")
            else:
                arrays[place] = self._tensors[place].read(tensor.data, tensor.shape)
        if at != tail.nbytes:
            raise CallerError(
                "invalid_input",
                f"{tail.nbytes - at} bytes follow the JSON that no input's binary_data_size names",
            )
        if len(tensors) < len(self._specs):
            absent = [spec.name for spec, array in zip(self._specs, arrays, strict=True) if array is None]
            raise bad_tensor(absent[0], "it is missing")
        return arrays

    def _with_outputs(self, request: Wishes, inputs: list[Array]) -> InferRequest:
        if request.outputs is None and request.parameters is None:
            return InferRequest(request.id, inputs, self._all, self._none_binary, request.id is None)
        default = _flag(request.parameters, "binary_data_output", default=False)
        if not request.outputs:
            return InferRequest(
                request.id, inputs, self._all, self._all_binary if default else self._none_binary
            )
        wanted: list[int] = []
        for output in request.outputs:
            place = self._output_of.get(output.name)
            if place is None:
                known = ", ".join(repr(name) for name in self._output_of)
                raise CallerError(
                    "invalid_input", f"Output {output.name!r}: the model has no such output; it gives {known}"
                )
            if place in wanted:
                raise CallerError("invalid_input", f"Output {output.name!r}: it is asked for twice")
            wanted.append(place)
        binary = tuple(_flag(output.parameters, "binary_data", default=default) for output in request.outputs)
        return InferRequest(request.id, inputs, tuple(wanted), binary)

    def _read_raw(self, body: bytes) -> InferRequest:
        """The body is the one input's tensor: batch size 1, at most one other free dimension."""
        if len(self._specs) != 1:
            raise CallerError(
                "invalid_input",
                f"A raw request has one input, and this model takes {len(self._specs)}: send JSON",
            )
        spec = self._specs[0]
        if not body:
            raise bad_tensor(spec.name, "the body is empty")
        shape = [
            1 if size < 0 and place == 0 and len(spec.shape) > 1 else size
            for place, size in enumerate(spec.shape)
        ]
        free = shape.count(-1)
        if spec.datatype == "BYTES":
            if free or prod(shape) != 1:
                shape = _one_string(spec, shape)
            array = strings([read_text(spec.name, memoryview(body), 0)], shape)
            return InferRequest(None, [array], self._all, self._all_binary)
        if free > 1:
            raise bad_tensor(
                spec.name, f"a raw request leaves {free} dimensions of {list(spec.shape)} unknown: send JSON"
            )
        if free:
            item = ITEM_BYTES[spec.datatype] * -prod(shape)
            if len(body) % item:
                raise bad_tensor(spec.name, f"expected a multiple of {item} bytes, got {len(body)}")
            shape[shape.index(-1)] = len(body) // item
        return InferRequest(None, [read_binary(spec, memoryview(body), shape)], self._all, self._all_binary)


def _one_string(spec: TensorSpec, shape: list[int]) -> list[int]:
    """Free dimensions are 1 for a raw string; fixed ones must be."""
    if prod(shape := [abs(size) for size in shape]) != 1:
        raise bad_tensor(
            spec.name, f"a raw request holds one BYTES element, and the shape is {list(spec.shape)}"
        )
    return shape


def _check(spec: TensorSpec, tensor: Input) -> None:
    if tensor.datatype != spec.datatype:
        raise bad_tensor(spec.name, f"expected datatype {spec.datatype}, got {tensor.datatype!r}")
    shape = tensor.shape
    if len(shape) != len(spec.shape):
        raise bad_tensor(
            spec.name,
            f"expected shape {list(spec.shape)}, got one of {len(shape)} dimensions: {_short(shape)}",
        )
    for size, fixed in zip(shape, spec.shape, strict=True):
        if size < 1 or (size != fixed and fixed >= 0):
            problem = "" if size > 0 else "; dimensions must be 1 or more"
            raise bad_tensor(spec.name, f"expected shape {list(spec.shape)} (-1 = any), got {shape}{problem}")


def _short(shape: list[int]) -> str:
    return str(shape) if len(shape) <= 8 else f"{str(shape[:8])[:-1]}, ...]"


def _length(header: bytes, body_bytes: int) -> int:
    if not header.isdigit() or len(header) > 18:
        raise CallerError("bad_request", "Inference-Header-Content-Length must be a whole number of bytes")
    size = int(header)
    if size > body_bytes:
        raise CallerError(
            "bad_request", f"Inference-Header-Content-Length says {size} bytes, and the body has {body_bytes}"
        )
    return size


def _binary_size(tensor: Input, left: int) -> int:
    assert tensor.parameters is not None
    size = tensor.parameters["binary_data_size"]
    if tensor.data is not NO_DATA:
        raise bad_tensor(tensor.name, "it has both `data` and `binary_data_size`")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise bad_tensor(
            tensor.name, f"expected binary_data_size to be a whole number of bytes, got {size!r}"
        )
    if size > left:
        raise bad_tensor(
            tensor.name,
            f"expected {size} bytes after the JSON (binary_data_size), got {left}; "
            "is Inference-Header-Content-Length right?",
        )
    return size


def _flag(parameters: Parameters | None, name: str, *, default: bool) -> bool:
    value = default if parameters is None else parameters.get(name, default)
    if not isinstance(value, bool):
        raise CallerError("invalid_input", f"Parameter {name} must be true or false, got {value!r}")
    return value


def _plain(error: msgspec.ValidationError) -> str:
    return str(error).replace("`", "").replace(" - at $.", " at ").replace(" - at $", "")
