"""Tensors of the Open Inference Protocol as numpy arrays: from JSON and raw bytes, and back to raw bytes.

Strict on purpose: a value that the datatype cannot hold (1e39 as FP32, 300 as UINT8, true as a number) is the
caller's error and is never rounded, wrapped or coerced. Element counts are exact Python integers, so no
product of dimensions can overflow.

JSON numbers go through `struct`, which checks the range of every value while it packs: for 64 values it is
three times faster than `numpy.array`, which does not check FP32 and FP16 at all.

Must not know: requests, models, HTTP. Called by `workers.protocol` and `workers.replies`.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from math import prod
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.contract.errors import CallerError
from gateway.contract.signature import TensorSpec

Array = npt.NDArray[Any]


class Format(NamedTuple):
    """How one datatype's elements are held, packed and called."""

    dtype: np.dtype[Any]
    code: str  # of `struct`
    element: type  # what a JSON value must be
    noun: str


def _format(dtype: str, code: str, element: type, noun: str) -> Format:
    return Format(np.dtype(dtype), code, element, noun)


FORMATS: Final[dict[str, Format]] = {
    "BOOL": _format("?", "?", bool, "true or false"),
    "UINT8": _format("<u1", "B", int, "a whole number from 0 to 255"),
    "UINT16": _format("<u2", "H", int, "a whole number from 0 to 65535"),
    "UINT32": _format("<u4", "I", int, "a whole number from 0 to 4294967295"),
    "UINT64": _format("<u8", "Q", int, "a whole number from 0 to 18446744073709551615"),
    "INT8": _format("<i1", "b", int, "a whole number from -128 to 127"),
    "INT16": _format("<i2", "h", int, "a whole number from -32768 to 32767"),
    "INT32": _format("<i4", "i", int, "a whole number from -2147483648 to 2147483647"),
    "INT64": _format("<i8", "q", int, "a whole number from -9223372036854775808 to 9223372036854775807"),
    "FP16": _format("<f2", "e", float, "a number from -65504 to 65504"),
    "FP32": _format("<f4", "f", float, "a number from -3.4028235e38 to 3.4028235e38"),
    "FP64": _format("<f8", "d", float, "a number"),
    "BYTES": _format("O", "", str, "a string"),
}

_JSON_NOUNS = {
    "array": "a list",
    "object": "an object",
    "str": "a string",
    "bool": "a boolean",
    "null": "null",
    "int": "a whole number",
    "float": "a number with a fraction",
}


def bad_tensor(name: str, problem: str) -> CallerError:
    return CallerError("invalid_input", f"Input {name!r}: {problem}", input=name)


@lru_cache(maxsize=256)
def packer(code: str, count: int) -> struct.Struct:
    """Packs `count` values and checks the range of each."""
    return struct.Struct(f"<{count}{code}")


class JsonTensor:
    """Reads the `data` of one input: a flat list, or lists nested exactly as deep as its shape."""

    __slots__ = ("_flat", "_format", "_nested", "_rank", "_spec")

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self._format = FORMATS[spec.datatype]
        self._rank = len(spec.shape)
        flat: Any = list[self._format.element]  # type: ignore[name-defined]
        nested: Any = flat
        for _ in range(self._rank - 1):
            nested = list[nested]
        self._flat = msgspec.json.Decoder(flat)
        self._nested = msgspec.json.Decoder(nested)

    def read(self, data: msgspec.Raw, shape: list[int]) -> Array:
        """`shape` has been checked against the signature; `data` is well-formed JSON of any kind."""
        values: Any
        try:
            if self._rank > 1 and _is_nested(data):
                values = self._flatten(self._nested.decode(data), shape)
            else:
                values = self._flat.decode(data)
        except msgspec.ValidationError as error:
            raise self._explain(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise bad_tensor(self._spec.name, "data holds text that is not valid JSON") from None
        if len(values) != (count := prod(shape)):
            raise bad_tensor(
                self._spec.name, f"expected {count} values for shape {shape}, got {len(values)} in data"
            )
        if not self._format.code:
            return strings(values, shape)
        try:
            packed = packer(self._format.code, count).pack(*values)
        except (struct.error, OverflowError):
            raise self._out_of_range(values) from None
        return np.frombuffer(packed, self._format.dtype).reshape(shape)

    def _flatten(self, nested: list[Any], shape: list[int]) -> list[Any]:
        rows = [nested]
        for axis, size in enumerate(shape):
            for row in rows:
                if len(row) != size:
                    raise bad_tensor(
                        self._spec.name,
                        f"expected lists of {size} at depth {axis + 1} of data for shape {shape}, "
                        f"got one of {len(row)}",
                    )
            rows = rows[0] if len(rows) == 1 else list(chain.from_iterable(rows))
        return rows

    def _explain(self, error: msgspec.ValidationError) -> CallerError:
        text = str(error)
        problem, _, path = text.partition(" - at `$")
        path = path.rstrip("`")
        kind = self._format.noun
        if path == "" and problem.startswith("Expected `array`"):
            return bad_tensor(self._spec.name, f"expected data to be a list, got {_got(problem)}")
        if "out of range" in problem:
            return bad_tensor(self._spec.name, f"expected {kind}, got a number beyond that at data{path}")
        if problem.startswith("Expected `array`"):
            return bad_tensor(
                self._spec.name,
                f"expected every part of data to be nested alike, got {_got(problem)} at data{path}",
            )
        if problem.endswith("got `array`"):
            return bad_tensor(
                self._spec.name,
                f"expected data to be flat or nested {self._rank} deep, got a list at data{path}",
            )
        return bad_tensor(self._spec.name, f"expected {kind}, got {_got(problem)} at data{path}")

    def _out_of_range(self, values: list[Any]) -> CallerError:
        one = packer(self._format.code, 1)
        for place, value in enumerate(values):
            try:
                one.pack(value)
            except (struct.error, OverflowError):
                shown = f"{value:.10g}" if isinstance(value, float) else str(value)
                return bad_tensor(
                    self._spec.name,
                    f"expected {self._format.noun} ({self._spec.datatype}), got {shown} as value {place}",
                )
        raise AssertionError("every value fits, yet packing them failed")


def _got(problem: str) -> str:
    kind = problem.rpartition("got `")[2].rstrip("`")
    return _JSON_NOUNS.get(kind, kind)


def _is_nested(data: msgspec.Raw) -> bool:
    """Whether the first element of a JSON list is a list."""
    view = memoryview(data)
    if view.nbytes > 1 and view[1] not in b" \t\r\n":
        return view[1] == 0x5B
    return bytes(view)[1:].lstrip()[:1] == b"["


def joined(arrays: Sequence[Array]) -> Array:
    """Rows one after the other, of C-contiguous arrays that agree in all but their rows.

    Four times faster than `numpy.concatenate` for 32 short rows.
    """
    first = arrays[0]
    if first.dtype.hasobject:
        return np.concatenate(arrays)
    row = first.shape[1:]
    return np.ndarray((sum(map(len, arrays)), *row), first.dtype, b"".join(arrays))  # type: ignore[arg-type]


def strings(values: list[str], shape: list[int]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)


def read_binary(spec: TensorSpec, part: memoryview, shape: list[int]) -> Array:
    """An array over (or copied from) the raw little-endian bytes of one input."""
    count = prod(shape)
    if spec.datatype == "BYTES":
        return strings(_splitstrings(spec.name, part, count), shape)
    dtype = FORMATS[spec.datatype].dtype
    if part.nbytes != count * dtype.itemsize:
        raise bad_tensor(
            spec.name,
            f"expected {count * dtype.itemsize} bytes for {spec.datatype} {shape}, got {part.nbytes}",
        )
    array = np.frombuffer(part, np.uint8 if spec.datatype == "BOOL" else dtype).reshape(shape)
    if spec.datatype == "BOOL":
        if array.max() > 1:
            raise bad_tensor(spec.name, f"expected bytes 0 and 1 for BOOL, got {array.max()}")
        return array.view(np.bool_)
    return array if array.flags.aligned else array.copy()


def _splitstrings(name: str, part: memoryview, count: int) -> list[str]:
    values: list[str] = []
    at = 0
    while at < part.nbytes:
        if part.nbytes - at < 4:
            raise bad_tensor(name, f"the length of BYTES element {len(values)} is cut short")
        size = int.from_bytes(part[at : at + 4], "little")
        at += 4
        if part.nbytes - at < size:
            raise bad_tensor(
                name, f"BYTES element {len(values)} says {size} bytes, but {part.nbytes - at} follow"
            )
        values.append(read_text(name, part[at : at + size], len(values)))
        at += size
    if len(values) != count:
        raise bad_tensor(name, f"expected {count} BYTES elements for its shape, got {len(values)}")
    return values


def read_text(name: str, raw: memoryview, place: int) -> str:
    """ONNX strings are UTF-8, so other bytes cannot be given to the model."""
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError:
        raise bad_tensor(name, f"BYTES element {place} is not UTF-8, which ONNX strings must be") from None


def to_binary(array: Array, datatype: str) -> bytes:
    """Little-endian, row-major; BYTES elements each after their length."""
    if datatype != "BYTES":
        return array.astype(FORMATS[datatype].dtype, copy=False).tobytes()
    parts = []
    for text in array.ravel().tolist():
        raw = text.encode()
        parts += [len(raw).to_bytes(4, "little"), raw]
    return b"".join(parts)
