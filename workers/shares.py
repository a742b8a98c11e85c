"""What one run gave, and which part of it is whose: JSON text is made once for all callers of a run.

Writing 32 rows as one JSON array and cutting it between the rows costs a third of writing 32 arrays. Numbers
hold neither brackets nor commas, so the cuts are certain; rows of strings are written one by one.

Pure. Made by `workers.batching`, read by `workers.replies`.
"""

import orjson

from workers.tensors import Array

_NUMPY = orjson.OPT_SERIALIZE_NUMPY


class Results:
    """All outputs of one run, in the model's order, C-contiguous, cut into *pieces*.

    A piece is one row of every output if several callers share the run (`is_shared`), else all there is.
    `shapes`: of one piece.
    """

    __slots__ = ("_by_piece", "_texts", "arrays", "is_shared", "shapes")

    def __init__(self, arrays: list[Array], *, is_shared: bool) -> None:
        self.arrays = arrays
        self.is_shared = is_shared
        shapes = [array.shape for array in arrays]
        self.shapes = [(1, *shape[1:]) for shape in shapes] if is_shared else shapes
        self._texts: list[list[bytes] | None] = [None] * len(arrays)
        self._by_piece: list[tuple[bytes, ...]] | None = None

    def texts(self, place: int) -> list[bytes]:
        """The values of each piece of an output as JSON: flat, without brackets; NaN, infinity are null."""
        texts = self._texts[place]
        if texts is None:
            array = self.arrays[place]
            self._texts[place] = texts = _row_texts(array) if self.is_shared else [_text(array)]
        return texts

    def all_texts(self, piece: int) -> tuple[bytes, ...]:
        """Of all outputs."""
        if not self.is_shared:
            return tuple([self.texts(place)[0] for place in range(len(self.arrays))])
        if self._by_piece is None:
            texts = map(self.texts, range(len(self.arrays)))
            self._by_piece = list(zip(*texts, strict=True))
        return self._by_piece[piece]


class Share:
    """One caller's pieces of the results of a run: from `start` up to, not including, `end`."""

    __slots__ = ("end", "results", "start")

    def __init__(self, results: Results, start: int, end: int) -> None:
        self.results = results
        self.start = start
        self.end = end

    @classmethod
    def whole(cls, arrays: list[Array]) -> "Share":
        """Of a run with one caller, whose outputs may have any shape."""
        return cls(Results(arrays, is_shared=False), 0, 1)

    def shape(self, place: int) -> tuple[int, ...]:
        shape = self.results.shapes[place]
        count = self.end - self.start
        return shape if count == 1 else (count, *shape[1:])

    def array(self, place: int) -> Array:
        array = self.results.arrays[place]
        return array[self.start : self.end] if self.results.is_shared else array

    def text(self, place: int) -> bytes:
        texts = self.results.texts(place)
        if self.end - self.start == 1:
            return texts[self.start]
        return b",".join(texts[self.start : self.end])


def _text(array: Array) -> bytes:
    flat = array.ravel()
    return orjson.dumps(flat.tolist() if flat.dtype.hasobject else flat, option=_NUMPY)[1:-1]


def _row_texts(array: Array) -> list[bytes]:
    if array.dtype.hasobject:
        return [_text(array[row : row + 1]) for row in range(len(array))]
    if array.size == len(array):
        return _text(array).split(b",")
    return orjson.dumps(array.reshape(len(array), -1), option=_NUMPY)[2:-2].split(b"],[")
