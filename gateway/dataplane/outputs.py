"""The recorded output of an answer: where it comes from, how it is scored, when two of them agree.

An output travels as one line of JSON: a scalar for one row, a list for several.
"""

from typing import Any

import orjson

from gateway.contract import headers as h
from gateway.contract.record import MAX_OUTPUT_BYTES, Kind
from gateway.contract.signature import Signature


def output_named(signature: Signature | None, name: str | None) -> tuple[str, Kind]:
    """The output to record (`*` = the first, where nothing is known) and how it is scored."""
    if signature is None or not signature.outputs:
        return name or "*", Kind.CLASS
    spec = next((output for output in signature.outputs if output.name == name), signature.outputs[0])
    return spec.name, Kind.NUMBER if spec.datatype.startswith("FP") else Kind.CLASS


def output_of(headers: dict[bytes, bytes], body: bytes, name: str, *, is_foreign: bool) -> bytes | None:
    """The output as JSON: what the worker said in a header, else read from a JSON body."""
    told = headers.get(h.OUTPUT)
    if told is not None and not is_foreign:
        return told
    if h.JSON_LENGTH in headers:
        return None
    try:
        outputs = orjson.loads(body)["outputs"]
        tensor = next((output for output in outputs if output["name"] == name), outputs[0])
        rows = _flat(tensor["data"])
        text = orjson.dumps(rows[0] if len(rows) == 1 else rows)
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return text if len(text) <= MAX_OUTPUT_BYTES else None


def _flat(data: list[Any]) -> list[Any]:
    """[[7], [3]] says the same as [7, 3]."""
    return [row[0] if isinstance(row, list) and len(row) == 1 else row for row in data]


def rows_of(output: bytes) -> list[Any]:
    value = orjson.loads(output)
    return value if isinstance(value, list) else [value]


def agreement(
    one: bytes, other: bytes, kind: Kind, *, tolerance: float
) -> tuple[int, int, float, float] | None:
    """(rows, rows that agree, sum of absolute differences, sum of their squares); None if incomparable."""
    if one == other and not one.startswith(b"["):  # by far the most common case
        return 1, 1, 0.0, 0.0
    left, right = rows_of(one), rows_of(other)
    if len(left) != len(right):
        return None
    if kind is Kind.CLASS:
        return len(left), sum(a == b for a, b in zip(left, right, strict=True)), 0.0, 0.0
    if not all(isinstance(value, int | float) for value in left + right):
        return None
    gaps = [abs(a - b) for a, b in zip(left, right, strict=True)]
    agree = sum(gap <= tolerance * max(abs(a), abs(b)) for gap, a, b in zip(gaps, left, right, strict=True))
    return len(left), agree, sum(gaps), sum(gap * gap for gap in gaps)
