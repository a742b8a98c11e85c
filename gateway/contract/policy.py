"""What must hold before traffic moves: the document `policy/<name>`, written in YAML in `config/policies/`.

A policy names the models that it is about; every one that matches must be content. The judgement is in
`core.policy`. An emergency override is a change with `force`, by a role that `override` names and with a
reason; it is written into the audit log.
"""

import zoneinfo
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from gateway.contract.route import Document, Percent
from gateway.contract.standing import State

Role = Literal["operator", "approver", "admin"]
Pattern = Annotated[str, Field(pattern=r"^[a-z0-9*?._-]{1,64}$")]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


_ANSWERS = (State.REGISTERED, State.VALIDATED, State.APPROVED, State.DEPRECATED)


class Bound(Document):
    """Of a metric that was registered with the version."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give `at_least`, `at_most` or both")
        return self


class Requirements(Document):
    """What a version must have before it may answer."""

    owner: bool = False
    notes: bool = False
    lineage: tuple[Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")], ...] = Field(
        default=(),
        max_length=16,
        description="fields of the lineage that must be filled: git_commit, run_id, …",
    )
    tags: tuple[Annotated[str, Field(max_length=64)], ...] = Field(default=(), max_length=16)
    metrics: tuple[Bound, ...] = Field(default=(), max_length=32)


class Approvals(Document):
    """Never by the version's author, and never twice by one person."""

    count: int = Field(default=1, ge=1, le=8)
    role: Role = "approver"


class AliasRule(Document):
    """What an alias may name. A policy that has such rules freezes these aliases, too, while it freezes."""

    names: tuple[Pattern, ...] = Field(
        default=("*",), min_length=1, max_length=64, description="aliases that it is about, shell patterns"
    )
    states: tuple[State, ...] = Field(default=_ANSWERS, min_length=1, description="of the version it names")
    approvals: Approvals | None = None

    def is_about(self, alias: str) -> bool:
        return any(fnmatchcase(alias, pattern) for pattern in self.names)


class Freeze(Document):
    """A time in which nothing may move: once (`begins`, `ends`), or every week (`from_day` … `to_time`)."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    begins: AwareDatetime | None = None
    ends: AwareDatetime | None = None
    from_day: Weekday | None = None
    from_time: Clock = "00:00"
    to_day: Weekday | None = None
    to_time: Clock = "00:00"
    zone: str = "UTC"

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, zone: str) -> str:
        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"no time zone {zone}; zones are named like Europe/Zurich") from None
        return zone

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        once, weekly = (self.begins, self.ends), (self.from_day, self.to_day)
        if (None not in once) == (None not in weekly) or once.count(None) == 1 or weekly.count(None) == 1:
            raise ValueError("give either `begins` and `ends`, or `from_day` and `to_day`")
        if self.begins is not None and self.ends is not None and self.ends <= self.begins:
            raise ValueError("`ends` is not after `begins`")
        return self


class Retention(Document):
    """How long data may and must be kept: a route that keeps its records longer or shorter is refused, and so
    is the removal of a version before its time."""

    records_days: float | None = Field(default=None, gt=0, le=3650, description="at most")
    records_min_days: float | None = Field(default=None, gt=0, le=365, description="at least")
    artefacts_days: float | None = Field(
        default=None,
        gt=0,
        le=36500,
        description="that a version stays registered, with its artefact, after it was retired or rejected",
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        least, most = self.records_min_days, self.records_days
        if least is not None and most is not None and least > most:
            raise ValueError("`records_min_days` is more than `records_days`: no route could keep both")
        return self


_COPIES = (State.REGISTERED, State.VALIDATED, State.APPROVED, State.DEPRECATED)


class Policy(Document):
    """`models` are shell patterns. Everything absent is allowed."""

    policy: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="its name")
    description: str = Field(default="", max_length=1024)
    models: tuple[Pattern, ...] = Field(default=("*",), min_length=1, max_length=64)
    answers: tuple[State, ...] = Field(default=_ANSWERS, description="states in which a version may answer")
    copies: tuple[State, ...] = Field(default=_COPIES, description="states in which it may be a shadow")
    requires: Requirements = Requirements()
    approvals: Approvals | None = None
    aliases: tuple[AliasRule, ...] = Field(default=(), max_length=16)
    freezes: tuple[Freeze, ...] = Field(default=(), max_length=64)
    largest_step: Percent | None = Field(
        default=None, description="points of weight that a version may gain in one change"
    )
    min_shadow_s: float | None = Field(
        default=None, ge=0, description="that a plan must shadow before it weighs"
    )
    retention: Retention = Retention()
    override: Role | None = Field(default="admin", description="who may force; null = nobody")

    def is_about(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    @model_validator(mode="after")
    def _lets_somebody_in(self) -> Self:
        dead = {State.RETIRED, State.REJECTED, State.QUARANTINED} & set(self.answers)
        if dead:
            raise ValueError(f"answers: a {sorted(dead)[0].value} version never answers")
        if not self.answers:
            raise ValueError("answers: with no state allowed nothing could ever be routed")
        return self
