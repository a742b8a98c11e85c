"""What a load test does, as people write it (config/loadtests/*.yaml), and as the driver's processes get it.

`Scenario` is the document; `Run` is a scenario with its inputs and its target, ready to send. Called by the
command, which reads files, and by the driver.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.contract.names import HeaderName
from gateway.loadtest.draws import Skew
from gateway.loadtest.schedule import Phase, total_s

MAX_RATE = 100_000
MAX_USERS = 10_000


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


Level = Annotated[float, Field(ge=0, le=MAX_RATE, allow_inf_nan=False)]


class PhaseDocument(_Document):
    """`at` is a constant level; `from` and `to` are a ramp."""

    for_s: float = Field(gt=0, le=7 * 86_400, allow_inf_nan=False)
    at: Level | None = None
    from_: Level | None = Field(None, alias="from")
    to: Level | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "PhaseDocument":
        is_ramp = self.from_ is not None and self.to is not None
        if (self.at is not None) == is_ramp or (
            self.at is not None and (self.from_, self.to) != (None, None)
        ):
            raise ValueError("a phase has either `at` (constant) or `from` and `to` (a ramp)")
        return self

    def built(self, scale: float) -> Phase:
        start = self.at if self.at is not None else self.from_
        end = self.at if self.at is not None else self.to
        assert start is not None
        assert end is not None
        return Phase(self.for_s, start * scale, end * scale)


class UnitsDocument(_Document):
    """Who asks. `count` 0 = requests name no unit."""

    count: int = Field(5000, ge=0, le=1_000_000)
    skew: Skew = "zipf"
    header: HeaderName = "turnout-unit"


class Scenario(_Document):
    """`loop: open` sends when a request is due; `closed` has users, each waiting for its answer.

    `label_delay_s` is how long after a prediction its label is sent, null = never. `max_in_flight` bounds
    the connections of each process: the HTTP client looks at them with select(2), which ends at 1024 files.
    """

    description: str = ""
    loop: Literal["open", "closed"] = "open"
    arrivals: Literal["even", "poisson"] = "even"
    phases: tuple[PhaseDocument, ...] = Field(min_length=1, max_length=1000)
    think_s: float = Field(0.0, ge=0, le=3600, allow_inf_nan=False)
    timeout_s: float = Field(5.0, gt=0, le=600, allow_inf_nan=False)
    max_in_flight: int = Field(900, ge=1, le=900)
    units: UnitsDocument = Field(default_factory=lambda: UnitsDocument.model_validate({}))
    label_delay_s: float | None = Field(3.0, ge=0, le=86_400, allow_inf_nan=False)
    fail_if: tuple[str, ...] = ("error_rate>1%",)

    @model_validator(mode="after")
    def _asks_something(self) -> "Scenario":
        levels = [level for phase in self.phases for level in (phase.at, phase.from_, phase.to)]
        if not any(levels):
            raise ValueError("every phase has the level 0: nothing would be sent")
        if self.loop == "closed" and max(filter(None, levels)) > MAX_USERS:
            raise ValueError(f"at most {MAX_USERS} users")
        return self


class Input(_Document):
    """A request's JSON body as text, and its true label if it has one."""

    body: str
    label: bool | int | float | str | None = None


class Run(_Document):
    """Everything that a process of the driver has to know. It may hold a key: never printed."""

    scenario: Scenario
    url: str
    model: str
    version: str | None
    key: str | None
    inputs: tuple[Input, ...] = Field(min_length=1)
    scale: float = 1.0
    seed: int = 0
    processes: int = 1

    @property
    def phases(self) -> list[Phase]:
        return [phase.built(self.scale) for phase in self.scenario.phases]

    @property
    def step_s(self) -> float:
        """Width of a point in the report's plots: at most 600 of them."""
        return max(1.0, total_s(self.phases) / 600)

    @property
    def path(self) -> str:
        version = "" if self.version is None else f"/versions/{self.version}"
        return f"/v2/models/{self.model}{version}/infer"
