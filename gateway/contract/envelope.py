"""How a document lies in Redis: wrapped with the revision, time, author and reason of its last change."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Envelope(BaseModel):
    """`doc` is None where the change was a deletion (in histories only).

    `is_return`: the change took an earlier one back: a rollback, a switch back, a rollout that failed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    field: str
    revision: int
    at_ms: int
    author: str
    reason: str
    doc: dict[str, Any] | None
    is_return: bool = False
