"""How a version stands: its state, who approved it on what, and its end.

The document `standing/<model>/<version>`.

A version's own document never changes; this one does, with every decision about it. A version without one
is `registered`.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from gateway.contract.access import Role
from gateway.contract.names import ModelName, VersionName
from gateway.contract.route import Document

MAX_APPROVALS = 32
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class State(StrEnum):
    REGISTERED = "registered"
    VALIDATED = "validated"  # its checks and evaluations passed
    APPROVED = "approved"  # people other than its author let it in
    DEPRECATED = "deprecated"  # still answers, says so in every reply, and has a date at which it ends
    RETIRED = "retired"  # not routed any more; its successor is named
    REJECTED = "rejected"
    QUARANTINED = "quarantined"  # taken out in a hurry; back to `registered` when it is cleared


# From a state to those that a person may put it into. What may be routed in which state is policy.
NEXT: dict[State, frozenset[State]] = {
    State.REGISTERED: frozenset({State.VALIDATED, State.APPROVED, State.REJECTED, State.QUARANTINED}),
    State.VALIDATED: frozenset({State.APPROVED, State.REJECTED, State.QUARANTINED}),
    State.APPROVED: frozenset({State.DEPRECATED, State.REJECTED, State.QUARANTINED}),
    State.DEPRECATED: frozenset({State.APPROVED, State.RETIRED, State.QUARANTINED}),
    State.RETIRED: frozenset({State.DEPRECATED}),
    State.REJECTED: frozenset({State.REGISTERED}),
    State.QUARANTINED: frozenset({State.REGISTERED, State.REJECTED}),
}


ENDED = frozenset({State.RETIRED, State.REJECTED})  # from when on a policy counts how long it is kept


class Approval(Document):
    """`dossier` is the SHA-256 of what the approver saw (`core.dossier`): it holds for nothing else."""

    by: str = Field(min_length=1, max_length=128)
    role: Role
    dossier: Digest
    at_ms: int = Field(ge=0)
    note: str = Field(default="", max_length=1024)


class Standing(Document):
    model: ModelName
    version: VersionName
    state: State = State.REGISTERED
    reason: str = Field(default="", max_length=1024)
    deprecated_at: AwareDatetime | None = None
    sunset_at: AwareDatetime | None = Field(default=None, description="when a deprecated version ends")
    ended_at: AwareDatetime | None = Field(default=None, description="since when it is retired or rejected")
    successor: VersionName | None = None
    approvals: tuple[Approval, ...] = Field(default=(), max_length=MAX_APPROVALS)
