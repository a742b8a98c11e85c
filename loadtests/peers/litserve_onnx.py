"""An ONNX model for LitServe: the same session that Turnout's workers run.

Run in LitServe's environment as `python litserve_onnx.py PORT`; the environment variable MODEL_FILE names the
file. Asked in a JSON of its own: `{"rows": [[...]]}` gives `{"label": [...], "probabilities": [[...]]}`.
"""

import os
import signal
import sys
from typing import Any

import litserve  # type: ignore[import-not-found]
import numpy as np
import onnxruntime


class OnnxApi(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = os.environ["MODEL_FILE"]
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: dict[str, Any]) -> Any:
        return np.asarray(request["rows"], np.float32)

    def predict(self, rows: Any) -> Any:
        return self.session.run(["label", "probabilities"], {"X": rows})

    def encode_response(self, output: Any) -> dict[str, Any]:
        label, probabilities = output
        return {"label": label.tolist(), "probabilities": probabilities.tolist()}


if __name__ == "__main__":
    # LitServe ends its other processes on SIGINT, and leaves them behind on SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = litserve.LitServer(OnnxApi(), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
