"""A model in ONNX Runtime: loaded from bytes in memory, run on checked arrays, its errors translated.

Loading from bytes means that the model cannot name files beside it. Called by `workers.app`; everything else
knows only `run(inputs) -> outputs`.
"""

from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from gateway.contract.errors import CallerError, TurnoutError
from gateway.contract.signature import Signature
from workers.tensors import Array

_WRONG_INPUT = (ort.InvalidArgument,)
_FAILED = (ort.Fail, ort.RuntimeException, ort.NotImplemented, ort.EPFail, ort.EngineError, RuntimeError)
_UNLOADABLE = (
    ort.InvalidProtobuf, ort.InvalidGraph, ort.InvalidArgument, ort.NotImplemented, ort.NoModel, ort.Fail,
    ort.RuntimeException, ort.ModelLoaded, ort.NoSuchFile, RuntimeError,
)  # fmt: skip


class OnnxModel:
    """One loaded model; `run` may be called from any one thread at a time."""

    def __init__(self, data: bytes, signature: Signature, *, threads: int) -> None:
        """Raises CallerError("invalid_input") when ONNX Runtime refuses the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors come as exceptions; warnings about graphs help nobody here
        # Spinning threads take the core from the event loop.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except _UNLOADABLE as error:
            raise CallerError(
                "invalid_input", f"ONNX Runtime refuses the model: {_first_line(error)}"
            ) from None
        # What `session.run` wraps, for 1 of its 5.5 µs: our inputs' names are checked, and there is no other
        # provider to fall back to.
        self._run: Any = session._sess.run
        self._run_options = onnxruntime.RunOptions()
        self._inputs = [spec.name for spec in signature.inputs]
        self._outputs = [spec.name for spec in signature.outputs]

    def run(self, inputs: list[Array]) -> list[Array]:
        """All outputs in the signature's order, C-contiguous. Raises TurnoutError, by whose fault it is."""
        feed = dict(zip(self._inputs, inputs, strict=True))
        try:
            outputs: list[Array] = self._run(self._outputs, feed, self._run_options)
        except _WRONG_INPUT as error:
            raise CallerError(
                "invalid_input", f"The model cannot compute these inputs: {_first_line(error)}"
            ) from None
        except UnicodeDecodeError:
            raise TurnoutError("internal", "The model gave a string that is not UTF-8.") from None
        except MemoryError:
            raise TurnoutError("overloaded", "There is not enough memory for this input.") from None
        except _FAILED as error:
            raise TurnoutError("internal", f"The model failed: {_first_line(error)}") from None
        return outputs


def _first_line(error: BaseException) -> str:
    """The reason without ONNX Runtime's prefix, code and source location."""
    text = " ".join(str(error).split())
    return text.rpartition(" : ")[2][:300] or type(error).__name__
