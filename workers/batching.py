"""The rules of dynamic batching: what may share a run of the model, what it costs, and who gets which rows.

Who shares a run with whom is decided in `workers.waiting`. If a batch fails, its members run singly, so that
one poisonous input fails only itself.

Whether to batch at all is decided by measurement (`Costs`): running two rows at once must cost less than
running them one by one. For a model of 5 µs a batch of 32 costs about 0.8 µs a row, copying included, where
single runs cost 6; a random forest computes each row for itself and gains nothing.

Pure: no clock, no I/O. The shell is `workers.batcher`.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.contract.errors import TurnoutError
from gateway.contract.signature import Signature
from workers.shares import Outputs, Results, Share, Whole
from workers.tensors import Array, joined

Run = Callable[[list[Array]], list[Array]]
Outcome = Outputs | TurnoutError

# Joining, splitting and book-keeping of one request in a batch, measured with `loadtests/worker_cost.py`.
JOIN_US = 1.0


class Member(Protocol):
    """One request of a batch."""

    @property
    def inputs(self) -> list[Array]: ...
    @property
    def rows(self) -> int: ...


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

    def of_queue(self, requests: int, rows: int, *, max_rows: int) -> float:
        """Time until all that waits has been run, in as few runs as the rules allow."""
        runs = requests if max_rows < 2 else min(requests, -(-rows // max_rows))
        return runs * self.base_us + rows * self.row_us

    @property
    def batching_pays(self) -> bool:
        """Whether joining two requests saves more time than it costs."""
        return self.base_us > JOIN_US


class Pace:
    """How long runs take beside their measured costs: `factor`, over the last twenty or so.

    Costs are measured on zeros, before the worker is ready and perhaps while others start; real inputs may be
    larger and the machine calmer. One stalled run raises the factor by no more than a tenth.
    """

    __slots__ = ("factor",)

    def __init__(self) -> None:
        self.factor = 1.0

    def saw(self, took_us: float, expected_us: float) -> None:
        if expected_us > 0:
            self.factor += 0.1 * (min(took_us / expected_us, 2 * self.factor) - self.factor)


def can_batch(signature: Signature) -> bool:
    """Every input and output has a free first dimension: then it is the batch's."""
    return all(spec.shape[:1] == (-1,) for spec in (*signature.inputs, *signature.outputs))


def rows_of(inputs: Sequence[Array]) -> int:
    """The rows that all inputs have in common, or 0."""
    shape = inputs[0].shape
    rows = shape[0] if shape else 0
    if len(inputs) == 1:
        return rows
    return rows if all(array.shape[:1] == (rows,) for array in inputs) else 0


def group_of(inputs: Sequence[Array]) -> Hashable:
    return tuple((array.shape[1:], array.dtype.char) for array in inputs)


def execute(run: Run, batch: Sequence[Member]) -> list[Outcome]:
    """One outcome for each member, in order; `run` raises a `TurnoutError` for what it cannot compute."""
    if len(batch) == 1:
        return [_single(run, batch[0])]
    try:
        columns = zip(*(entry.inputs for entry in batch), strict=True)
        outputs = run([joined(arrays) for arrays in columns])
        return _shares(outputs, [entry.rows for entry in batch])
    except TurnoutError:
        return [_single(run, entry) for entry in batch]


def _single(run: Run, entry: Member) -> Outcome:
    try:
        return Whole(run(entry.inputs))
    except TurnoutError as error:
        return error


def _shares(outputs: list[Array], rows: list[int]) -> list[Outcome]:
    """Cut each output into the rows of each member."""
    total = sum(rows)
    if any(output.shape[:1] != (total,) for output in outputs):
        raise TurnoutError("internal", f"the model did not give one row of output for each of {total} rows")
    results = Results(outputs)
    shares: list[Outcome] = []
    start = 0
    for count in rows:
        end = start + count
        shares.append(Share(results, start, end))
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
