"""Values of input columns, read from the bodies of a few sampled requests: what comes in, as distributions.

Only the first row of a request is looked at, so that a batch costs no more than a single one. A body that
cannot be read is left out: what is wrong with it is the worker's to say. Called by the recorder's flush, away
from the reply.
"""

import math
import struct
from collections.abc import Iterator
from typing import Any

import orjson

from gateway.contract.bins import bin_of
from gateway.contract.evidence import PRIMARY, role_field
from gateway.contract.route import Features

# Datatypes of the Open Inference Protocol whose values are numbers, as `struct` reads them.
_CODES = {
    "FP32": "<f", "FP64": "<d", "INT8": "<b", "INT16": "<h", "INT32": "<i", "INT64": "<q",
    "UINT8": "<B", "UINT16": "<H", "UINT32": "<I", "UINT64": "<Q", "BOOL": "<?",
}  # fmt: skip


def fields_of(version: str, body: bytes, json_length: bytes | None, asked: Features) -> Iterator[str]:
    """A field of evidence for each column that could be read."""
    for column, value in _values(body, json_length, asked):
        if math.isfinite(value):
            yield role_field(PRIMARY, version, f"f:{column}:{bin_of(value)}")


def _values(body: bytes, json_length: bytes | None, asked: Features) -> Iterator[tuple[int, float]]:
    try:
        head = len(body) if json_length is None else int(json_length)
        inputs = orjson.loads(body[:head])["inputs"]
        at = head
        for tensor in inputs:
            size = tensor.get("parameters", {}).get("binary_data_size")
            if asked.input in (None, tensor["name"]):
                first = (
                    _first_row(tensor) if size is None else _first_binary_row(tensor, body[at : at + size])
                )
                yield from ((column, float(first[column])) for column in asked.columns if column < len(first))
                return
            at += size or 0
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error):
        return


def _first_row(tensor: dict[str, Any]) -> list[Any]:
    data: list[Any] = tensor["data"]
    while data and isinstance(data[0], list):
        if not (data[0] and isinstance(data[0][0], list)):
            return list(data[0])
        data = data[0]
    return data[: _width(tensor)]


def _first_binary_row(tensor: dict[str, Any], data: bytes) -> list[Any]:
    code = _CODES[tensor["datatype"]]
    width = _width(tensor)
    return list(struct.unpack_from(f"{code[0]}{width}{code[1]}", data))


def _width(tensor: dict[str, Any]) -> int:
    shape = tensor["shape"]
    return math.prod(shape[1:]) if len(shape) > 1 else 1
