"""What a model takes and gives: the tensors of the Open Inference Protocol (OIP v2).

Source of the datatypes: kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "BYTES",
]  # fmt: skip

# Bytes of one element; BYTES elements carry their own length.
ITEM_BYTES: dict[str, int] = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4,
    "INT64": 8, "FP16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip


class TensorSpec(BaseModel):
    """One input or output; a dimension of -1 is free."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class Signature(BaseModel):
    """Inputs and outputs in the model's own order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
