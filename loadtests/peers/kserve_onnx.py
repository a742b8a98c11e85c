"""An ONNX model for KServe's Python server: the same session that Turnout's workers run.

Run in KServe's environment as `python kserve_onnx.py --http_port N ...`. The file is named by the environment
variable MODEL_FILE, because importing kserve parses the command line.
"""

import os
from typing import Any

import numpy as np
import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer  # type: ignore[import-not-found]


class OnnxModel(Model):  # type: ignore[misc]
    """Every output of the model, as JSON tensors."""

    def __init__(self, path: str) -> None:
        super().__init__("digits")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.outputs = [(output.name, output.type) for output in self.session.get_outputs()]
        self.ready = True

    # A coroutine, so that no thread is used for a run of microseconds.
    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        inputs = {tensor.name: np.asarray(tensor.as_numpy(), np.float32) for tensor in payload.inputs}
        results = self.session.run(None, inputs)
        outputs = []
        for (name, kind), result in zip(self.outputs, results, strict=True):
            datatype = "INT64" if kind == "tensor(int64)" else "FP32"
            output = InferOutput(name, list(result.shape), datatype)
            output.set_data_from_numpy(result, binary_data=False)
            outputs.append(output)
        # It wants an id in its reply, and gives the request none.
        return InferResponse(payload.id or "1", self.name, outputs)


if __name__ == "__main__":
    ModelServer().start([OnnxModel(os.environ["MODEL_FILE"])])
