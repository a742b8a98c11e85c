"""A rollout as it stands: the document `rollout/<model>` and what is noted beside it.

`Rollout` is a document like a route. It changes only with a transition (a step entered, a pause, an end), in
the same commit as the route that the transition changes; so the two never disagree, whenever a process dies.
Its envelope's revision is therefore also the revision of the route that its step made.

`Progress` is what changes at every tick (time that counted, newest verdicts). It is written under the
controller's lease, and losing it costs time only.
"""

from enum import StrEnum
from typing import Any

from pydantic import Field

from gateway.contract.names import ModelName, VersionName
from gateway.contract.plan import Plan
from gateway.contract.route import Document, Route

MAX_EVENTS = 200  # of one rollout; the oldest after the first go


class Phase(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"  # by a person, by a person's edit of the route, or by a maximum that was reached
    FROZEN = "frozen"  # a gate said FAIL and the plan says freeze; traffic stays as it is
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"


ENDED = frozenset({Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.ABORTED})


class Outcome(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    HOLD = "HOLD"  # not enough evidence yet
    ERROR = "ERROR"  # could not be measured


class Verdict(Document):
    """What a gate says; numbers are None where there are none, and never NaN."""

    gate: str
    outcome: Outcome
    sentence: str = Field(description="with the numbers, for an operator to repeat")
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    observations: int = 0
    more: int | None = Field(default=None, description="about how many more observations decide")
    blocks: bool = True


class Event(Document):
    """`what`: started, entered, advanced, paused, resumed, promoted, failed, frozen, rolled_back, aborted,
    succeeded, cutover."""

    at_ms: int
    step: int
    what: str
    author: str
    sentence: str
    verdicts: tuple[Verdict, ...] = ()
    report: dict[str, Any] | None = Field(default=None, description="of a cutover")


class Rollout(Document):
    """`before` is the route to go back to. `step` counts from 0 and equals the number of steps at success."""

    rollout_id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    model: ModelName
    baseline: VersionName
    candidate: VersionName
    plan: Plan
    author: str
    reason: str = ""
    started_ms: int
    phase: Phase = Phase.RUNNING
    sentence: str = Field(default="", description="why it is in this phase")
    step: int = Field(default=0, ge=0)
    step_entered_ms: int = 0
    step_revision: int | None = Field(
        default=None,
        description="the route's revision for this step; None = the revision of this very document",
    )
    switched: bool = Field(
        default=False, description="in a cutover step: the candidate was checked and all traffic is its"
    )
    promoted: bool = Field(
        default=False, description="somebody let this step pass; taken back with the next step"
    )
    before: Route
    events: tuple[Event, ...] = Field(default=(), max_length=MAX_EVENTS)

    @property
    def is_over(self) -> bool:
        return self.phase in ENDED

    @property
    def route_author(self) -> str:
        """Who writes its routes, in envelopes and the audit trail."""
        return f"rollout/{self.rollout_id}"

    def as_of(self, revision: int) -> "Rollout":
        """As read from an envelope of this revision: `step_revision` is a number from here on."""
        if self.step_revision is not None:
            return self
        return self.model_copy(update={"step_revision": revision})


class Mark(Document):
    """Evidence of the minute in which a window began: taken off what is read of that minute later."""

    minute: int
    sums: dict[str, float] = Field(default_factory=dict)


class Progress(Document):
    """`counted_s`: time in which every live gateway served the step. `step` says which step it is about."""

    rollout_id: str
    step: int
    counted_s: float = 0
    ticked_ms: int = 0
    rollout_mark: Mark | None = None
    step_mark: Mark | None = None
    waits_for: str = Field(default="", description="what it waits for, as a sentence")
    verdicts: tuple[Verdict, ...] = ()
    units: int | None = Field(
        default=None, description="that the candidate answered since the start, estimated"
    )
    requests: int = 0
    errors: int = 0
