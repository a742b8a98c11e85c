"""The documents of aliases (names for versions that move, such as `champion`) and what
a route made of a move.

`Aliases` is the operators'. `Following` is written by the leader of the rollouts alone, in the same commit as
the change that it tells of, so that a process that dies leaves no move half-answered (`core.follow`).
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from gateway.contract.names import ModelName, VersionName

MAX_ALIASES = 64
MAX_SENTENCE = 2048


class Aliases(BaseModel):
    """Alias -> version. A route holds versions; one that follows an alias is changed when the alias moves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aliases: dict[ModelName, VersionName] = Field(default_factory=dict, max_length=MAX_ALIASES)


class Answer(StrEnum):
    """What became of the alias' newest move."""

    ROLLING = "rolling"  # a rollout to the version began, or went on already
    ARRIVED = "arrived"  # the version answers everything
    WAITING = "waiting"  # something is in the way; tried again
    REFUSED = "refused"  # policy says no; tried again
    NAMELESS = "nameless"  # the alias names no version: traffic stays as it is


UNANSWERED = frozenset({Answer.WAITING, Answer.REFUSED})


class Following(BaseModel):
    """How the route of a model answered: `version` is what `alias` meant, at revision `aliases_revision`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alias: ModelName
    version: VersionName | None
    aliases_revision: int = Field(ge=0)
    answer: Answer
    sentence: str = Field(max_length=MAX_SENTENCE)
    rules: tuple[str, ...] = Field(default=(), description="of policy, that refuse")
    rollout_id: str | None = None


def follower(alias: str) -> str:
    """Who writes the routes that follow this alias, in envelopes and the audit trail."""
    return f"alias/{alias}"
