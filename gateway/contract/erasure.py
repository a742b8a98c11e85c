"""What the audit keeps of an erasure: that it was done, of how much, and a seal instead of the unit.

The document `erasure/<model>`. It is written twice: before anything goes, so that an erasure that was cut off
is not forgotten, and when all of it has gone.
"""

from typing import Annotated, Literal

from pydantic import Field

from gateway.contract.names import ModelName
from gateway.contract.route import Document

MAX_UNIT_BYTES = 1024
Count = Annotated[int, Field(ge=0)]


class Erasure(Document):
    """`seal`: only the control process that made it can tell what it was made of (`control.audit.heads`)."""

    model: ModelName
    seal: str = Field(pattern=r"^[0-9a-f]{32}$")
    state: Literal["begun", "done"]
    by_ids: Count = Field(default=0, description="predictions that were named by their ids")
    predictions: Count = 0
    samples: Count = 0
    disagreements: Count = 0
    corrections: Count = 0
