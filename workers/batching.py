"""The rules of dynamic batching: what may share a run of the model, how much, and who gets which rows.

Requests of one *group* (equal dimensions beside the first, equal datatypes) share a run. Groups are served in
the order of their oldest request, and requests of one group in the order of their arrival; a request larger
than the limit runs alone. If a batch fails, its members run singly, so that one poisonous input fails only
itself.

Whether to batch at all is decided by measurement (`Costs`): running two rows at once must cost less than
running them one by one. For a model of 5 µs a batch of 32 costs about 0.8 µs a row, copying included, where
single runs cost 6; a random forest computes each row for itself and gains nothing.

Pure: no clock, no I/O. The shell is `workers.batcher`.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from gateway.contract.errors import TurnoutError
from gateway.contract.signature import Signature
from workers.tensors import Array

Run = Callable[[list[Array]], list[Array]]
Outcome = list[Array] | TurnoutError

# Joining, splitting and book-keeping of one request in a batch, measured with `loadtests/worker_cost.py`.
JOIN_US = 1.0


class Queued(Protocol):
    """What waits: `rows` is 0 where the inputs do not agree about the number of rows."""

    @property
    def inputs(self) -> list[Array]: ...
    @property
    def rows(self) -> int: ...
    @property
    def group(self) -> Hashable: ...


Q = TypeVar("Q", bound=Queued)


@dataclass(frozen=True, slots=True)
class Costs:
    """Time of one run, as a line: `base_us + rows * row_us`."""

    base_us: float
    row_us: float

    @classmethod
    def measured(cls, one_us: float, many_us: float, rows: int) -> "Costs":
        """From the time of one row and that of `rows` rows at once."""
        row_us = max(0.0, many_us - one_us) / (rows - 1) if rows > 1 else 0.0
        return cls(max(0.0, one_us - row_us), row_us)

    def of(self, rows: int) -> float:
        return self.base_us + rows * self.row_us

    @property
    def batching_pays(self) -> bool:
        """Whether joining two requests saves more time than it costs."""
        return self.base_us > JOIN_US


def can_batch(signature: Signature) -> bool:
    """Every input and output has a free first dimension: then it is the batch's."""
    return all(spec.shape[:1] == (-1,) for spec in (*signature.inputs, *signature.outputs))


def rows_of(inputs: Sequence[Array]) -> int:
    """The rows that all inputs have in common, or 0."""
    first = inputs[0]
    rows = first.shape[0] if first.ndim else 0
    if len(inputs) == 1:
        return rows
    return rows if all(array.shape[:1] == (rows,) for array in inputs) else 0


def group_of(inputs: Sequence[Array]) -> Hashable:
    return tuple((array.shape[1:], array.dtype.char) for array in inputs)


def take(queue: deque[Q], max_rows: int) -> list[Q]:
    """Remove the next batch from a queue that is not empty."""
    first = queue.popleft()
    batch = [first]
    rows = first.rows
    if rows == 0 or rows >= max_rows or not queue:
        return batch
    others: list[Q] = []
    while queue:
        entry = queue[0]
        if entry.group == first.group and entry.rows:
            if rows + entry.rows > max_rows:
                break
            rows += entry.rows
            batch.append(entry)
        else:
            others.append(entry)
        queue.popleft()
    queue.extendleft(reversed(others))
    return batch


def execute(run: Run, batch: Sequence[Queued]) -> list[Outcome]:
    """One outcome for each member, in order; `run` raises a `TurnoutError` for what it cannot compute."""
    if len(batch) == 1:
        return [_single(run, batch[0])]
    try:
        outputs = run(
            [np.concatenate(arrays) for arrays in zip(*(entry.inputs for entry in batch), strict=True)]
        )
        return _shares(outputs, [entry.rows for entry in batch])
    except TurnoutError:
        return [_single(run, entry) for entry in batch]


def _single(run: Run, entry: Queued) -> Outcome:
    try:
        return run(entry.inputs)
    except TurnoutError as error:
        return error


def _shares(outputs: list[Array], rows: list[int]) -> list[Outcome]:
    """Cut each output into the rows of each member."""
    total = sum(rows)
    if any(output.shape[:1] != (total,) for output in outputs):
        raise TurnoutError("internal", f"the model did not give one row of output for each of {total} rows")
    shares: list[Outcome] = []
    start = 0
    for count in rows:
        end = start + count
        shares.append([output[start:end] for output in outputs])
        start = end
    return shares


def wait_s(rows: int, *, max_rows: int, max_delay_s: float, oldest_s: float, others_gap_s: float) -> float:
    """How long an idle runtime should still wait for company before it runs `rows` waiting rows.

    `oldest_s`: how long the oldest of them has waited. `others_gap_s`: how long before the newest request
    another connection sent one; a lone client is never delayed.
    """
    if rows >= max_rows or others_gap_s > max_delay_s:
        return 0.0
    return max(0.0, max_delay_s - oldest_s)
