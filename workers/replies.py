"""The reply to an inference request: OIP JSON, binary tensors, and the line that is recorded.

Data are written flat, as the protocol allows and its clients expect. JSON has no NaN and no infinity: they
become null there, and stay what they are in binary tensors. orjson writes numpy arrays by itself, in the
shortest form that reads back to the same FP32.

Must not know: HTTP connections, queues, runtimes. Called by `workers.server`.
"""

import json
from typing import Any

import orjson

from gateway.contract.record import MAX_OUTPUT_BYTES
from gateway.contract.signature import Signature
from workers.protocol import InferRequest
from workers.tensors import Array, to_binary

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
JSON_HEAD = b"content-type: application/json\r\n"


class ReplyWriter:
    """Writes replies of one version."""

    def __init__(self, model: str, version: str, signature: Signature) -> None:
        self._model = model
        self._version = version
        self._specs = signature.outputs
        self._names = [spec.name for spec in signature.outputs]
        self._place_of = {spec.name.encode(): place for place, spec in enumerate(signature.outputs)}

    def write(self, request: InferRequest, outputs: list[Array]) -> tuple[bytes, bytes]:
        """Header lines and body. `outputs` are all of the model's, in its order, C-contiguous."""
        document: dict[str, Any] = {"model_name": self._model, "model_version": self._version}
        if request.request_id is not None:
            document["id"] = request.request_id
        parts: list[bytes] = []
        tensors: list[dict[str, Any]] = []
        for place, is_binary in zip(request.wanted, request.binary, strict=True):
            spec = self._specs[place]
            array = outputs[place]
            tensor: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": array.shape}
            if is_binary:
                part = to_binary(array, spec.datatype)
                tensor["parameters"] = {"binary_data_size": len(part)}
                parts.append(part)
            elif spec.datatype == "BYTES":
                tensor["data"] = array.ravel().tolist()
            else:
                tensor["data"] = array.ravel()
            tensors.append(tensor)
        document["outputs"] = tensors
        head = orjson.dumps(document, option=_NUMPY)
        if not parts:
            return JSON_HEAD, head
        lines = b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\n" % len(
            head
        )
        return lines, b"".join([head, *parts])

    def recorded(self, name: bytes, outputs: list[Array]) -> bytes | None:
        """The output `name` (another name: the first) as one line of JSON; None if it is too long to record.

        One value a row: a scalar for one row, a list for several. More values a row: a list of lists.
        """
        place = self._place_of.get(name, 0)
        array = outputs[place]
        if array.size > MAX_OUTPUT_BYTES // 2:
            return None
        rows = array.shape[0] if array.ndim else 1
        shaped = array.ravel() if array.size == rows else array.reshape(rows, -1)
        if self._specs[place].datatype == "BYTES":
            # Escaped to ASCII: the line travels in a header.
            line = json.dumps(shaped.tolist(), separators=(",", ":")).encode().replace(b"\x7f", b"\\u007f")
        else:
            line = orjson.dumps(shaped, option=_NUMPY)
        if rows == 1 and array.size == 1:
            line = line[1:-1]
        return line if len(line) <= MAX_OUTPUT_BYTES else None
