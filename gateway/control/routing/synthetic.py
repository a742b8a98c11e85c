"""The smallest request that a model must be able to answer, built from its registered signature.

Pure. A cutover sends it to every worker that is about to get traffic: a worker may say that it is ready and
still fail its first real inference.
"""

from typing import Any

from gateway.contract.signature import Signature, TensorSpec

_VALUE_OF: dict[str, Any] = {"BOOL": False, "BYTES": "", "FP16": 0.0, "FP32": 0.0, "FP64": 0.0}


def synthetic_request(signature: Signature) -> dict[str, Any]:
    """An OIP inference request of one row of zeros; free dimensions are 1."""
    return {"inputs": [_tensor(spec) for spec in signature.inputs]}


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    shape = [1 if size < 0 else size for size in spec.shape]
    count = 1
    for size in shape:
        count *= size
    value = _VALUE_OF.get(spec.datatype, 0)
    return {"name": spec.name, "shape": shape, "datatype": spec.datatype, "data": [value] * count}
