"""The usual request in one pass: every input as JSON, in the model's order.

Names, datatypes, dimensions and the kind of each element are a *type* made of the signature, so that decoding
is checking. What does not fit (binary tensors, another order, a mistake) is None here, and `workers.protocol`
reads it anew and says what is wrong; what does fit gives exactly what `workers.protocol` would give.

Must not know: HTTP, queues, runtimes; it explains nothing. Called by `workers.protocol`.
"""

import struct
from itertools import chain
from math import prod
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from gateway.contract.signature import Signature, TensorSpec
from workers.documents import Wishes
from workers.tensors import FORMATS, Array, packer

_Size = Annotated[int, msgspec.Meta(ge=1)]


class TypedReader:
    """Reads requests for one signature."""

    def __init__(self, signature: Signature) -> None:
        """Raises ValueError for a signature that only `workers.protocol` reads.

        Those are strings, scalars, and booleans: `struct` takes a list for true.
        """
        if any(spec.datatype in ("BYTES", "BOOL") or not spec.shape for spec in signature.inputs):
            raise ValueError("strings, booleans and scalars are not read in one pass")
        inputs: Any = tuple(_input_type(spec) for spec in signature.inputs)
        request = msgspec.defstruct(
            "TypedRequest",
            [("inputs", tuple[inputs])],
            bases=(Wishes,),
            gc=False,
        )
        self._decoder = msgspec.json.Decoder(request)
        self._columns = [_Column(spec) for spec in signature.inputs]

    def read(self, body: bytes) -> tuple[Wishes, list[Array]] | None:
        try:
            request: Any = self._decoder.decode(body)
            return request, list(map(_Column.array, self._columns, request.inputs))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, _DoesNotFit):
            return None


class _DoesNotFit(Exception):
    """A number of values, a nesting, or a value beyond the datatype."""


class _Column:
    """Makes the array of one input; `_row` is the number of values of one row, where that is fixed."""

    __slots__ = ("_code", "_dtype", "_pack_row", "_row")

    def __init__(self, spec: TensorSpec) -> None:
        self._dtype = FORMATS[spec.datatype].dtype
        self._code = FORMATS[spec.datatype].code
        self._row = prod(spec.shape[1:]) if all(size > 0 for size in spec.shape[1:]) else 0
        self._pack_row = packer(self._code, self._row).pack

    def array(self, tensor: Any) -> Array:
        """Raises _DoesNotFit."""
        shape = tensor.shape
        values = tensor.data
        count = shape[0] * self._row if self._row else prod(shape)
        if len(values) == 1 and type(values[0]) is list and len(shape) == 2:
            values = values[0]  # the usual row in a list
            if len(values) != count or shape[0] != 1:
                raise _DoesNotFit
        elif len(values) != count or type(values[0]) is list:
            values = _flattened(values, shape)
        try:
            if count == self._row:
                packed = self._pack_row(*values)
            else:
                packed = packer(self._code, count).pack(*values)
        except (struct.error, OverflowError):
            raise _DoesNotFit from None
        return np.ndarray(shape, self._dtype, packed)


def _input_type(spec: TensorSpec) -> type:
    element: Any = FORMATS[spec.datatype].element
    nested = element
    for _ in spec.shape[1:]:
        nested = list[nested]  # type: ignore[valid-type]
    data: Any = list[element | nested]  # type: ignore[valid-type]
    shape: Any = tuple(Literal[size] if size > 0 else _Size for size in spec.shape)
    fields: list[Any] = [
        ("name", Literal[spec.name]),
        ("shape", tuple[shape]),
        ("datatype", Literal[spec.datatype]),
        ("data", data),
        ("parameters", None, None),
    ]
    return msgspec.defstruct("TypedInput", fields, gc=False)


def _flattened(nested: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """The values of lists that are nested exactly as deep and as wide as `shape`; raises _DoesNotFit."""
    rows = [nested]
    for size in shape:
        for row in rows:
            if type(row) is not list or len(row) != size:
                raise _DoesNotFit
        rows = rows[0] if len(rows) == 1 else list(chain.from_iterable(rows))
    return rows
