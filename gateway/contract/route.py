"""The route document: how the requests of one model are split.

The same document is what an operator writes (YAML or JSON), what Redis holds, and what a gateway compiles.
Validation reports every problem with its path. Whether versions exist is not known here: `core.compile` and
the control API check that.
"""

import math
from typing import Annotated, Any, Literal, Self

import re2
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gateway.contract.names import HeaderName, ModelName, VersionName

MAX_ROUTE_BYTES = 256 * 1024  # a route document longer than this is refused unread
MAX_SHADOWS = 8  # bounded because every shadow has a numbered slot in a prediction's record
MAX_SLICES = 4
WEIGHT_TOLERANCE = 1e-6  # percent; what binary fractions such as 0.1 + 99.9 may be off


class Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Percent = Annotated[float, Field(ge=0, le=100)]


class Weight(Document):
    version: VersionName
    weight: Percent


class Sticky(Document):
    """Where the unit is read from: exactly one of `header` and `cookie`."""

    header: HeaderName | None = None
    cookie: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.header is None) == (self.cookie is None):
            raise ValueError("give exactly one of `header` and `cookie`")
        return self


class Match(Document):
    """One condition on one request header: exactly one of the four tests."""

    header: HeaderName
    exact: str | None = Field(default=None, max_length=1024)
    prefix: str | None = Field(default=None, min_length=1, max_length=1024)
    regex: str | None = Field(default=None, min_length=1, max_length=256)
    present: bool | None = None

    @field_validator("regex")
    @classmethod
    def _regex_compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            options = re2.Options()
            options.log_errors = False
            try:
                re2.compile(pattern, options=options)
            except re2.error as error:
                reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
                raise ValueError(f"not a regular expression of RE2: {reason}") from None
        return pattern

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        given = [test for test in (self.exact, self.prefix, self.regex, self.present) if test is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of `exact`, `prefix`, `regex` and `present`")
        return self


def _check_split(split: tuple[Weight, ...]) -> None:
    versions = [entry.version for entry in split]
    if doubles := sorted({version for version in versions if versions.count(version) > 1}):
        raise ValueError(f"version {doubles[0]} is listed twice")
    total = math.fsum(entry.weight for entry in split)
    if abs(total - 100) > WEIGHT_TOLERANCE:
        raise ValueError(f"weights sum to {total:.10g}, not to 100")


Split = Annotated[tuple[Weight, ...], Field(min_length=1, max_length=64)]


class Rule(Document):
    """If every condition of `match` holds, `split` of the rule decides."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    match: tuple[Match, ...] = Field(min_length=1, max_length=16)
    split: Split

    @field_validator("split")
    @classmethod
    def _split_is_whole(cls, split: tuple[Weight, ...]) -> tuple[Weight, ...]:
        _check_split(split)
        return split


class Shadow(Document):
    version: VersionName
    percent: Percent = 100
    match: tuple[Match, ...] = Field(default=(), max_length=16)


class Slots(Document):
    """The two environments of a blue/green cutover; `live` names the one that answers."""

    blue: VersionName | None = None
    green: VersionName | None = None
    live: Literal["blue", "green"]

    @property
    def live_version(self) -> str | None:
        return self.blue if self.live == "blue" else self.green

    @model_validator(mode="after")
    def _live_is_filled(self) -> Self:
        if self.live_version is None:
            raise ValueError(f"slot {self.live} is live but holds no version")
        return self


class Retry(Document):
    """How often a failed attempt may be sent to another worker of the same version."""

    attempts: int = Field(default=2, ge=1, le=5, description="attempts in all, the first included")
    budget_percent: Percent = Field(default=20, description="retries allowed per 100 requests")


class Hedge(Document):
    """A second attempt at another worker of the version while the first is still awaited."""

    after_ms: float = Field(ge=1, le=60_000, description="about the latency that 95 % of the answers keep to")


class Concurrency(Document):
    """How many requests one gateway process has at the workers of a version, and how long others wait."""

    per_worker: int = Field(default=128, ge=1, le=512, description="requests at one worker at once")
    adaptive: bool = Field(default=False, description="fewer when the workers' own latency grows")
    queue: int = Field(default=1024, ge=0, le=100_000, description="requests that wait for a place")
    queue_ms: float = Field(
        default=250, ge=0, le=60_000, description="how long; at most half of what is left"
    )


class Features(Document):
    """Columns of an input whose distribution is counted, of the first row of a share of the requests."""

    input: str | None = Field(default=None, max_length=128, description="absent = the first input")
    columns: tuple[Annotated[int, Field(ge=0, lt=100_000)], ...] = Field(min_length=1, max_length=32)
    percent: Percent = 5


class Record(Document):
    output: str | None = Field(default=None, max_length=128, description="absent = the model's first output")
    percent: Percent = 100
    ttl_s: int = Field(default=604_800, ge=60, le=31_536_000)
    tolerance: float = Field(
        default=0.01, ge=0, le=1, description="relative difference up to which two numbers agree"
    )
    bodies: bool = Field(
        default=False, description="keep a few request bodies: to warm workers, to look at disagreements"
    )
    units: bool = Field(
        default=False, description="keep a mark of the unit beside each record, so that it can be erased"
    )
    features: Features | None = None
    slices: tuple[HeaderName, ...] = Field(
        default=(),
        max_length=MAX_SLICES,
        description="request headers with few values: evidence for each value",
    )

    @field_validator("slices")
    @classmethod
    def _slices_differ(cls, slices: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(slices)) < len(slices):
            raise ValueError("a header is listed twice")
        return slices


class Follow(Document):
    """The version that `alias` names shall answer: by a rollout with the named plan, or by a plain change."""

    alias: ModelName
    plan: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="name of a template of rollouts; absent = all requests at once",
    )


class Counting(Document):
    """Gateways note which units this version answers: `keys.units`. Set by a rollout's steps."""

    rollout_id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    version: VersionName


class Route(Document):
    """How one model's requests are answered. With `slots`, `split` is derived from the live one."""

    model: ModelName
    split: tuple[Weight, ...] = Field(default=(), max_length=64, validate_default=True)
    sticky: Sticky | None = None
    rules: tuple[Rule, ...] = Field(default=(), max_length=64)
    shadows: tuple[Shadow, ...] = Field(default=(), max_length=MAX_SHADOWS)
    slots: Slots | None = None
    fallback: VersionName | None = None
    timeout_s: float = Field(default=2.0, ge=0.01, le=300)
    retry: Retry = Retry()
    hedge: Hedge | None = None
    concurrency: Concurrency = Concurrency()
    record: Record = Record()
    follow: Follow | None = None
    counting: Counting | None = None

    @model_validator(mode="before")
    @classmethod
    def _split_follows_slots(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and not raw.get("split"):
            slots: Any = raw.get("slots")
            if isinstance(slots, Slots):
                slots = slots.model_dump()
            name = slots.get("live") if isinstance(slots, dict) else None
            live = slots.get(name) if isinstance(name, str) else None
            if live is not None:
                return raw | {"split": [{"version": live, "weight": 100}]}
        return raw

    @field_validator("split")
    @classmethod
    def _split_is_whole(cls, split: tuple[Weight, ...]) -> tuple[Weight, ...]:
        if not split:
            raise ValueError("no version is listed; weights must sum to 100")
        _check_split(split)
        return split

    @field_validator("rules")
    @classmethod
    def _rule_names_differ(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.name for rule in rules]
        if doubles := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rules are named {doubles[0]}")
        return rules

    @field_validator("shadows")
    @classmethod
    def _shadows_differ(cls, shadows: tuple[Shadow, ...]) -> tuple[Shadow, ...]:
        versions = [shadow.version for shadow in shadows]
        if doubles := sorted({version for version in versions if versions.count(version) > 1}):
            raise ValueError(f"version {doubles[0]} is a shadow twice")
        return shadows

    @model_validator(mode="after")
    def _units_are_known(self) -> Self:
        if self.record.units and self.sticky is None:
            raise ValueError("record.units needs `sticky`, which says where the unit of a request is read")
        return self

    @model_validator(mode="after")
    def _split_agrees_with_slots(self) -> Self:
        if self.slots is not None:
            live = self.slots.live_version
            if [(entry.version, entry.weight) for entry in self.split if entry.weight > 0] != [(live, 100)]:
                raise ValueError(
                    f"slots say that {live} is live, but split says otherwise: "
                    "leave `split` out, or remove `slots`"
                )
        return self

    def versions(self) -> set[str]:
        """Every version that the route names."""
        named = {entry.version for entry in self.split}
        named |= {entry.version for rule in self.rules for entry in rule.split}
        named |= {shadow.version for shadow in self.shadows}
        if self.slots is not None:
            named |= {version for version in (self.slots.blue, self.slots.green) if version is not None}
        if self.fallback is not None:
            named.add(self.fallback)
        return named


def problems_of(error: ValidationError) -> list[str]:
    """Every problem as `path: what is wrong`, in the document's order."""
    found = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        path = ".".join(str(part) for part in item["loc"]) or "document"
        found.append(f"{path}: {item['msg'].removeprefix('Value error, ')}")
    return found
