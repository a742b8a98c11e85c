"""An ONNX model for BentoML: the same session that Turnout's workers run.

Run in BentoML's environment as `bentoml serve bentoml_onnx:Digits`; the environment variable MODEL_FILE names
the file. Asked in a JSON of its own: `{"rows": [[...]]}` gives `{"label": [...], "probabilities": [[...]]}`.
"""

import os
from typing import Any

import bentoml  # type: ignore[import-not-found]
import numpy as np
import onnxruntime


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Digits:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = os.environ["MODEL_FILE"]
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    # A coroutine, so that no thread is used for a run of microseconds; Any, so that numbers are read once.
    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    async def predict(self, rows: list[Any]) -> dict[str, Any]:
        label, probabilities = self.session.run(
            ["label", "probabilities"], {"X": np.asarray(rows, np.float32)}
        )
        return {"label": label.tolist(), "probabilities": probabilities.tolist()}
