"""What is measured of a model before it is ready, on real models."""

from typing import Any

import numpy as np
import pytest

from gateway.contract.errors import CallerError, TurnoutError
from tests.workers import models
from workers.artifact import inspect
from workers.runtimes.onnx import OnnxModel
from workers.warmup import Warmth, filled, warm_up


def warm(data: bytes, *, max_batch_rows: int = 16) -> Warmth:
    signature = inspect(data).signature
    return warm_up(OnnxModel(data, signature, threads=1).run, signature, max_batch_rows=max_batch_rows)


def test_a_small_model_is_batched() -> None:
    warmth = warm(models.linear())
    assert warmth.max_rows == 16
    assert 0 < warmth.costs.of(1) < 1_000_000


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (models.mixing(), "mixes rows"),
        (models.identity("FP32", [2, 3]), "no free first dimension"),
        (models.identity("INT64", []), "no free first dimension"),
    ],
)
def test_rows_that_must_not_share_a_run_do_not(data: bytes, why: str) -> None:
    warmth = warm(data)
    assert warmth.max_rows == 1
    assert why in warmth.why


def test_batching_can_be_switched_off() -> None:
    assert warm(models.linear(), max_batch_rows=1).max_rows == 1


@pytest.mark.parametrize("data", [models.everything(), models.poisonable(), models.slow(10)])
def test_models_of_every_kind_warm_up(data: bytes) -> None:
    assert warm(data).max_rows == 16


def test_a_model_that_takes_only_zeros_is_still_batched() -> None:
    signature = inspect(models.linear()).signature

    def run(inputs: list[Any]) -> list[Any]:
        if inputs[0].any():
            raise CallerError("invalid_input", "zeros only")
        return [inputs[0].sum(axis=1), inputs[0]]

    assert "batch" in warm_up(run, signature, max_batch_rows=8).why


def test_a_model_that_runs_on_one_row_alone_is_not_batched() -> None:
    signature = inspect(models.linear()).signature

    def run(inputs: list[Any]) -> list[Any]:
        if len(inputs[0]) > 1:
            raise TurnoutError("internal", "one row only")
        return [inputs[0].sum(axis=1), inputs[0]]

    warmth = warm_up(run, signature, max_batch_rows=8)
    assert (warmth.max_rows, warmth.why) == (1, "the model does not run on several rows (one row only)")


def test_a_model_that_fails_on_one_row_is_not_served() -> None:
    def run(inputs: list[Any]) -> list[Any]:
        raise TurnoutError("internal", "broken")

    with pytest.raises(TurnoutError, match="broken"):
        warm_up(run, inspect(models.linear()).signature, max_batch_rows=8)


def test_inputs_for_warming_up_fit_the_signature() -> None:
    signature = inspect(models.everything()).signature
    for spec, array in zip(signature.inputs, filled(signature, 3, 1), strict=True):
        assert array.shape == (3, 2), spec.name
    free = inspect(models.identity("BYTES", [None, None, 4])).signature
    assert filled(free, 2, 0)[0].tolist() == [[["0"] * 4]] * 2
    assert filled(inspect(models.identity("FP32", [2, 3])).signature, 9, 0)[0].shape == (2, 3)


def test_the_runtime_says_whose_fault_a_failure_is() -> None:
    data = models.poisonable()
    model = OnnxModel(data, inspect(data).signature, threads=1)
    assert model.run([np.array([4], np.int64)])[0].tolist() == [40]
    with pytest.raises(CallerError, match=r"cannot compute these inputs: .*out of data bounds"):
        model.run([np.array([99], np.int64)])
