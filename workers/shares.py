"""What one run gave, and which rows of it are whose: JSON text is made once for all callers of a run.

Writing 32 rows as one JSON array and cutting it between the rows costs a third of writing 32 arrays. Numbers
hold neither brackets nor commas, so the cuts are certain; rows of strings are written one by one.

Texts are the values of an output as JSON: flat, without brackets; NaN and infinity are null. Pure. Made by
`workers.batching`, read by `workers.replies`.
"""

from abc import ABC, abstractmethod

import orjson

from workers.tensors import Array

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
Shapes = tuple[tuple[int, ...], ...]


class Outputs(ABC):
    """What one caller gets: of each output, in the model's order, the array (C-contiguous) and its text."""

    __slots__ = ("shapes",)

    shapes: Shapes

    @abstractmethod
    def array(self, place: int) -> Array:
        """The output at this place."""

    @abstractmethod
    def text(self, place: int) -> bytes:
        """The same as JSON, flat."""

    @abstractmethod
    def texts(self) -> tuple[bytes, ...]:
        """All outputs as JSON, in order."""


class Whole(Outputs):
    """All of a run that had one caller; the outputs may have any shape."""

    __slots__ = ("_arrays", "_texts")

    def __init__(self, arrays: list[Array]) -> None:
        self.shapes = tuple([array.shape for array in arrays])
        self._arrays = arrays
        self._texts: tuple[bytes, ...] | None = None

    def array(self, place: int) -> Array:
        return self._arrays[place]

    def text(self, place: int) -> bytes:
        texts = self._texts
        return _text(self._arrays[place]) if texts is None else texts[place]

    def texts(self) -> tuple[bytes, ...]:
        texts = self._texts
        if texts is None:
            self._texts = texts = tuple([_text(array) for array in self._arrays])
        return texts


class Results:
    """The outputs of a run that had several callers, each with a row for each row of the inputs."""

    __slots__ = ("_by_output", "_by_row", "arrays", "row_shapes")

    def __init__(self, arrays: list[Array]) -> None:
        self.arrays = arrays
        self.row_shapes = tuple([(1, *array.shape[1:]) for array in arrays])
        self._by_output: list[list[bytes] | None] = [None] * len(arrays)
        self._by_row: list[tuple[bytes, ...]] | None = None

    def column(self, place: int) -> list[bytes]:
        """The text of each row of one output."""
        column = self._by_output[place]
        if column is None:
            self._by_output[place] = column = _row_texts(self.arrays[place])
        return column

    def rows(self) -> list[tuple[bytes, ...]]:
        """Of each row the texts of all outputs."""
        rows = self._by_row
        if rows is None:
            columns = map(self.column, range(len(self.arrays)))
            self._by_row = rows = list(zip(*columns, strict=True))
        return rows


class Share(Outputs):
    """Rows of a run, from `start` up to, not including, `end`."""

    __slots__ = ("_end", "_results", "_start")

    def __init__(self, results: Results, start: int, end: int) -> None:
        count = end - start
        shapes = results.row_shapes
        self.shapes = shapes if count == 1 else tuple([(count, *shape[1:]) for shape in shapes])
        self._results = results
        self._start = start
        self._end = end

    def array(self, place: int) -> Array:
        return self._results.arrays[place][self._start : self._end]

    def text(self, place: int) -> bytes:
        column = self._results.column(place)
        start, end = self._start, self._end
        return column[start] if end - start == 1 else b",".join(column[start:end])

    def texts(self) -> tuple[bytes, ...]:
        if self._end - self._start == 1:
            return self._results.rows()[self._start]
        return tuple([self.text(place) for place in range(len(self.shapes))])


def _text(array: Array) -> bytes:
    flat = array.ravel()
    return orjson.dumps(flat.tolist() if flat.dtype.hasobject else flat, option=_NUMPY)[1:-1]


def _row_texts(array: Array) -> list[bytes]:
    if array.dtype.hasobject:
        return [_text(array[row : row + 1]) for row in range(len(array))]
    if array.size == len(array):
        return _text(array).split(b",")
    return orjson.dumps(array.reshape(len(array), -1), option=_NUMPY)[2:-2].split(b"],[")
