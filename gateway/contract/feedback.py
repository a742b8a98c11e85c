"""Feedback as a caller sends it, and what became of it."""

from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.contract.names import PREDICTION_ID_PATTERN

WAIT_S = 600  # how long feedback for a prediction not yet written waits


class Feedback(BaseModel):
    """One label or reward for one prediction. A label for a batch is a list with one entry a row."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prediction_id: str = Field(pattern=PREDICTION_ID_PATTERN)
    label: Any = None
    reward: float | None = None
    at: float | str | None = Field(default=None, description="when the truth became known; kept, not used")

    @model_validator(mode="after")
    def _one_truth(self) -> Self:
        if (self.label is None) == (self.reward is None):
            raise ValueError("give exactly one of `label` and `reward`")
        return self


class FeedbackResult(StrEnum):
    JOINED = "joined"
    DUPLICATE = "duplicate"  # the same label again: nothing changed
    CORRECTED = "corrected"  # another label: it replaced the first, and the correction was noted
    WAITING = "waiting"  # the prediction is not written yet; joined when it is
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    INVALID = "invalid"  # the label cannot be compared with the recorded output
