"""What one run of a model costs, and whether its rows may share a run: measured before the worker is ready.

Runs the model on synthetic inputs (zeros; free dimensions beside the first are 1). A model that fails on
one row of them cannot be served. Rows may share a run when two different rows give, together, what each gives
alone: a model that looks across rows (a softmax over the wrong axis) must not mix callers.

Called once by `workers.app`, in a thread.
"""

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.contract.errors import TurnoutError
from gateway.contract.signature import Signature
from workers.batching import Costs, Run, can_batch
from workers.tensors import FORMATS, Array

MAX_RUNS: Final = 30
MAX_S: Final = 0.3  # for one measurement, beyond its first two runs
TOLERANCE: Final = 1e-3  # relative; sums in another order differ by far less


@dataclass(frozen=True, slots=True)
class Warmth:
    """`max_rows` is 1 where rows must not, or had better not, share a run; `why` says so for the log."""

    costs: Costs
    max_rows: int
    why: str


def warm_up(run: Run, signature: Signature, *, max_batch_rows: int) -> Warmth:
    """Raises the model's own TurnoutError if it cannot compute one row of zeros."""
    one_us = _time_us(run, filled(signature, 1, 0))
    costs = Costs(one_us, 0.0)
    if max_batch_rows < 2:
        return Warmth(costs, 1, "batching is off")
    if not can_batch(signature):
        return Warmth(costs, 1, "the model has no free first dimension")
    try:
        if not _rows_are_independent(run, signature):
            return Warmth(costs, 1, "the model mixes rows")
        many_us = _time_us(run, filled(signature, max_batch_rows, 0))
    except TurnoutError as error:
        return Warmth(costs, 1, f"the model does not run on several rows ({error.message})")
    costs = Costs.measured(one_us, many_us, max_batch_rows)
    if not costs.batching_pays:
        return Warmth(costs, 1, "a batch costs as much as its rows one by one")
    return Warmth(costs, max_batch_rows, f"up to {max_batch_rows} rows a batch")


def filled(signature: Signature, rows: int, value: int) -> list[Array]:
    """Inputs that hold `value` everywhere; a free first dimension becomes `rows`, other free ones 1."""
    arrays: list[Array] = []
    for spec in signature.inputs:
        free = [rows, *(1 for _ in spec.shape[1:])]
        shape = [size if size > 0 else other for size, other in zip(spec.shape, free, strict=False)]
        what = str(value) if spec.datatype == "BYTES" else value
        arrays.append(np.full(shape, what, dtype=FORMATS[spec.datatype].dtype))
    return arrays


def _rows_are_independent(run: Run, signature: Signature) -> bool:
    """Whether two different rows give the same together and alone; also that there is a row for each."""
    rows = [filled(signature, 1, value) for value in (0, 1)]
    try:
        alone = [run(row) for row in rows]
    except TurnoutError:  # not every model takes a one; two rows of zeros still show what shapes come back
        rows = [rows[0], rows[0]]
        alone = [run(row) for row in rows]
    together = run([np.concatenate(pair) for pair in zip(*rows, strict=True)])
    return all(
        whole.shape[:1] == (2,) and _same(whole, np.concatenate(pair))
        for whole, *pair in zip(together, *alone, strict=True)
    )


def _same(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind == "f":
        return bool(np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
    return bool(np.array_equal(one, other))


def _time_us(run: Run, inputs: list[Array]) -> float:
    """The median of some runs; the first two only warm up."""
    run(inputs)
    run(inputs)
    times: list[float] = []
    until = time.perf_counter() + MAX_S
    while len(times) < MAX_RUNS and (not times or time.perf_counter() < until):
        started = time.perf_counter()
        run(inputs)
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2] * 1e6
