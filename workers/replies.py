"""The reply to an inference request: OIP JSON, binary tensors, and the line that is recorded.

Data are written flat, as the protocol allows and its clients expect. JSON has no NaN and no infinity: they
become null there, and stay what they are in binary tensors. orjson writes numpy arrays by itself, in the
shortest form that reads back to the same FP32. What never changes between replies of one version is written
once, and joined with shapes and data.

Must not know: HTTP connections, queues, runtimes. Called by `workers.server`.
"""

import json
from math import prod

import orjson

from gateway.contract.record import MAX_OUTPUT_BYTES
from gateway.contract.signature import Signature, TensorSpec
from workers.protocol import InferRequest
from workers.shares import Outputs, Shapes
from workers.tensors import to_binary

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
MAX_FORMS = 256  # of replies by their shapes: free dimensions can take any number of them
JSON_HEAD = b"content-type: application/json\r\n"


class ReplyWriter:
    """Writes replies of one version."""

    def __init__(self, model: str, version: str, signature: Signature) -> None:
        self._start = orjson.dumps({"model_name": model, "model_version": version})[:-1]
        self._datatypes = [spec.datatype for spec in signature.outputs]
        self._openings = [_opening(spec) for spec in signature.outputs]
        self._place_of = {spec.name.encode(): place for place, spec in enumerate(signature.outputs)}
        self._forms: dict[Shapes, bytes] = {}

    def write(self, request: InferRequest, outputs: Outputs) -> tuple[bytes, bytes]:
        """Header lines and body."""
        if request.is_plain:
            shapes = outputs.shapes
            form = self._forms.get(shapes) or self._new_form(shapes)
            return JSON_HEAD, form % outputs.texts()
        return self._write(request, outputs)

    def _new_form(self, shapes: Shapes) -> bytes:
        """The body of plain replies of these shapes, with %b for the values of each output."""
        if len(self._forms) >= MAX_FORMS:
            self._forms.clear()
        parts = [
            opening.replace(b"%", b"%%") + orjson.dumps(shape) + b',"data":[%b]}'
            for opening, shape in zip(self._openings, shapes, strict=True)
        ]
        form = b'%b,"outputs":[%b]}' % (self._start.replace(b"%", b"%%"), b",".join(parts))
        self._forms[shapes] = form
        return form

    def _write(self, request: InferRequest, outputs: Outputs) -> tuple[bytes, bytes]:
        parts = [self._start]
        if request.request_id is not None:
            parts += (b',"id":', orjson.dumps(request.request_id))
        raw: list[bytes] = []
        parts.append(b',"outputs":[')
        between = b""
        for place, is_binary in zip(request.wanted, request.binary, strict=True):
            parts += (between, self._openings[place], orjson.dumps(outputs.shapes[place]))
            if is_binary:
                part = to_binary(outputs.array(place), self._datatypes[place])
                parts.append(b',"parameters":{"binary_data_size":%d}}' % len(part))
                raw.append(part)
            else:
                parts += (b',"data":[', outputs.text(place), b"]}")
            between = b","
        parts.append(b"]}")
        body = b"".join(parts)
        if not raw:
            return JSON_HEAD, body
        lines = b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\n" % len(
            body
        )
        return lines, b"".join([body, *raw])

    def recorded(self, name: bytes, outputs: Outputs) -> bytes | None:
        """The output `name` (another name: the first) as one line of JSON; None if it is too long to record.

        One value a row: a scalar for one row, a list for several. More values a row: a list of lists.
        """
        place = self._place_of.get(name, 0)
        shape = outputs.shapes[place]
        size = prod(shape)
        if size > MAX_OUTPUT_BYTES // 2:
            return None
        rows = shape[0] if shape else 1
        if self._datatypes[place] == "BYTES":
            line = _ascii_line(outputs, place, rows)
        elif rows == 1:
            line = outputs.text(place) if size == 1 else b"[[%b]]" % outputs.text(place)
        elif size == rows:
            line = b"[%b]" % outputs.text(place)
        else:
            line = orjson.dumps(outputs.array(place).reshape(rows, -1), option=_NUMPY)
        return line if len(line) <= MAX_OUTPUT_BYTES else None


def _opening(spec: TensorSpec) -> bytes:
    """An output's object up to its shape."""
    return orjson.dumps({"name": spec.name, "datatype": spec.datatype})[:-1] + b',"shape":'


def _ascii_line(outputs: Outputs, place: int, rows: int) -> bytes:
    """Strings, escaped to ASCII: the line travels in a header."""
    array = outputs.array(place)
    shaped = array.ravel() if array.size == rows else array.reshape(rows, -1)
    line = json.dumps(shaped.tolist(), separators=(",", ":")).encode().replace(b"\x7f", b"\\u007f")
    return line[1:-1] if rows == 1 and array.size == 1 else line
