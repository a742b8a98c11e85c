"""The plan of a rollout: by which steps a candidate takes over, and what must hold at each of them.

An operator writes it (YAML in `config/rollouts/`), a rollout keeps a copy of it for ever. Validation reports
every problem with its path. What the words do is in `core.rollouts.rollout` (steps) and `core.rollouts.gates`
(gates); whether versions exist is checked by the control API when a rollout starts.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gateway.contract.names import HeaderName, ModelName, VersionName
from gateway.contract.route import Document, Percent

MAX_STEPS = 32
MAX_GATES = 16
MAX_GOLDEN = 64
DAY_S = 86_400.0

Seconds = Annotated[float, Field(ge=0, le=90 * DAY_S)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Address = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=2048)]


class Metric(StrEnum):
    ERROR_RATE = "error_rate"  # share of requests that failed by the version's fault
    LATENCY = "latency"  # a quantile, in ms
    ACCURACY = "accuracy"  # share of labels that the answer equals
    MAE = "mae"  # mean absolute error, in the label's unit
    REWARD = "reward"  # mean of what feedback gave
    AGREEMENT = "agreement"  # share of the candidate's answers that equal the baseline's, as its shadow
    DRIFT = "drift"  # total variation distance between the outputs of candidate and baseline
    PROMETHEUS = "prometheus"  # the one number that a query gives
    WEBHOOK = "webhook"  # an address that answers {"verdict": "pass" | "fail" | "hold", "reason": ...}


LABELLED = frozenset({Metric.ACCURACY, Metric.MAE, Metric.REWARD})
LESS_IS_BETTER = frozenset({Metric.ERROR_RATE, Metric.LATENCY, Metric.MAE, Metric.DRIFT})
_ONLY_ABSOLUTE = frozenset({Metric.AGREEMENT, Metric.DRIFT, Metric.PROMETHEUS})


class Gate(Document):
    """A condition on evidence. Either absolute (`at_most`, `at_least`) or against the baseline (`margin`).

    `margin` is by how much the candidate may be worse: a difference (0.01 = one point of accuracy or of error
    rate, the label's unit for mae), for latency a factor (1.5 = half as much again).
    """

    metric: Metric
    name: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    quantile: float = Field(default=0.99, gt=0, lt=1, description="of latency")
    at_most: float | None = None
    at_least: float | None = None
    margin: float | None = Field(default=None, ge=0)
    confidence: float = Field(
        default=0.95,
        ge=0.5,
        lt=1,
        description="chance that this gate never gives a false FAIL, over all looks",
    )
    since: Literal["rollout", "step"] | None = Field(
        default=None,
        description="whose evidence counts; absent: labels and pairs of the rollout, else the step's",
    )
    maturity_s: Seconds = Field(
        default=0, description="predictions younger than this are not judged by labels"
    )
    min_labels: Count = Field(default=0, description="labels of the candidate below which the gate HOLDs")
    slice: HeaderName | None = Field(
        default=None,
        description="judge each value of this header (the route's `record.slices`), one error budget",
    )
    blocks: bool = Field(
        default=True, description="false: only a FAIL counts, HOLD and ERROR let the step pass"
    )
    query: str | None = Field(default=None, max_length=4096, description="of Prometheus (PromQL)")
    url: Address | None = Field(default=None, description="of the Prometheus server or the webhook")

    @property
    def window(self) -> Literal["rollout", "step"]:
        if self.since is not None:
            return self.since
        return "rollout" if self.metric in LABELLED | {Metric.AGREEMENT, Metric.DRIFT} else "step"

    @property
    def title(self) -> str:
        """How reports call it."""
        if self.name is not None:
            return self.name
        words = f"p{100 * self.quantile:g} latency" if self.metric is Metric.LATENCY else self.metric.value
        return words.replace("_", " ") + (f" per {self.slice}" if self.slice else "")

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        bounds = [bound for bound in (self.at_most, self.at_least, self.margin) if bound is not None]
        if self.metric is Metric.WEBHOOK:
            if bounds:
                raise ValueError("a webhook decides itself: leave out `at_most`, `at_least` and `margin`")
        elif len(bounds) != 1:
            raise ValueError("give exactly one of `at_most`, `at_least` and `margin`")
        if self.margin is not None and self.metric in _ONLY_ABSOLUTE:
            raise ValueError(f"{self.metric.value} has no `margin`: give `at_most` or `at_least`")
        if self.metric is Metric.LATENCY and self.margin is not None and self.margin < 1:
            raise ValueError("the `margin` of latency is a factor of at least 1: 1.5 = half as much again")
        if self.metric in LESS_IS_BETTER and self.at_least is not None:
            raise ValueError(f"less {self.metric.value} is better: give `at_most`")
        if self.metric in LABELLED - {Metric.MAE} | {Metric.AGREEMENT} and self.at_most is not None:
            raise ValueError(f"more {self.metric.value} is better: give `at_least`")
        return self

    @model_validator(mode="after")
    def _only_where_it_works(self) -> Self:
        needs_url = self.metric in (Metric.PROMETHEUS, Metric.WEBHOOK)
        if needs_url != (self.url is not None):
            raise ValueError("`url` belongs to prometheus and webhook gates, and they need it")
        if (self.metric is Metric.PROMETHEUS) != (self.query is not None):
            raise ValueError("`query` belongs to prometheus gates, and they need it")
        if self.slice is not None and self.metric not in (Metric.ERROR_RATE, Metric.ACCURACY, Metric.MAE):
            raise ValueError("`slice` works for error_rate, accuracy and mae")
        return self


class Hold(Document):
    """How long a step stays: at least all the minima, and at most the maxima; then it pauses and says why.

    Time is time in which every live gateway served the step. Requests and labels are the candidate's in this
    step, as primary or shadow.
    """

    min_s: Seconds = 0
    max_s: Seconds | None = None
    min_requests: Count = 0
    max_requests: Count | None = None
    min_labels: Count = 0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_s is not None and self.max_s < self.min_s:
            raise ValueError("`max_s` is below `min_s`")
        if self.max_requests is not None and self.max_requests < self.min_requests:
            raise ValueError("`max_requests` is below `min_requests`")
        return self


class Pause(Document):
    """Until somebody promotes the rollout, or for a time."""

    for_s: Seconds | None = Field(default=None, description="absent = until it is promoted")


class Golden(Document):
    """A request with the answer that the candidate must give before it goes live."""

    inputs: tuple[dict[str, Any], ...] = Field(
        min_length=1, max_length=64, description="tensors as in OIP JSON"
    )
    expect: tuple[Any, ...] = Field(min_length=1, description="rows of the recorded output")
    tolerance: float = Field(default=0, ge=0, description="absolute, for numbers")


class Cutover(Document):
    """All traffic at once: warm, check, switch, watch, and back by itself on FAIL."""

    warm_requests: int = Field(
        default=50, ge=0, le=200, description="recorded real requests sent to each worker"
    )
    golden: tuple[Golden, ...] = Field(default=(), max_length=MAX_GOLDEN)
    watch_s: Seconds = Field(default=60, description="time after the switch in which a FAIL switches back")


class Step(Document):
    """One of `shadow`, `weight`, `pause` and `cutover`; a `weight` may have a `shadow` beside it."""

    shadow: Percent | None = Field(
        default=None, description="percent of the requests copied to the candidate"
    )
    weight: Percent | None = Field(
        default=None, description="percent of the requests that the candidate answers"
    )
    pause: Pause | None = None
    cutover: Cutover | None = None
    hold: Hold = Hold()
    gates: tuple[Gate, ...] = Field(default=(), max_length=MAX_GATES, description="besides the plan's own")

    @property
    def title(self) -> str:
        if self.weight is not None:
            return f"weight {self.weight:g} %"
        if self.shadow is not None:
            return f"shadow {self.shadow:g} %"
        return "pause" if self.pause is not None else "cutover"

    @model_validator(mode="after")
    def _one_act(self) -> Self:
        acts = [act for act in (self.weight, self.pause, self.cutover) if act is not None]
        if len(acts) > 1 or (not acts and self.shadow is None):
            raise ValueError("give exactly one of `shadow`, `weight`, `pause` and `cutover`")
        if self.shadow is not None and acts and self.weight is None:
            raise ValueError("`shadow` stands alone or beside `weight`")
        return self


class Limits(Document):
    """Blast radius: beyond it the rollout goes no further. Of the candidate as primary, since the start."""

    units: Count | None = Field(
        default=None, description="different units that the candidate answered (estimated)"
    )
    requests: Count | None = None
    errors: Count | None = None


class Plan(Document):
    """`gates` hold in every step, unless a pause. `baseline` absent: the version with most of the traffic."""

    model: ModelName | None = Field(default=None, description="absent in a template")
    candidate: VersionName | None = Field(default=None, description="absent in a template")
    baseline: VersionName | None = None
    description: str = Field(default="", max_length=1024)
    steps: tuple[Step, ...] = Field(min_length=1, max_length=MAX_STEPS)
    gates: tuple[Gate, ...] = Field(default=(), max_length=MAX_GATES)
    on_fail: Literal["roll_back", "freeze"] = "roll_back"
    limits: Limits = Limits()
    webhooks: tuple[Address, ...] = Field(
        default=(), max_length=4, description="told of every event, HMAC-signed"
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.candidate is not None and self.candidate == self.baseline:
            raise ValueError("candidate and baseline are the same version")
        cutovers = [index for index, step in enumerate(self.steps) if step.cutover is not None]
        if cutovers and cutovers != [len(self.steps) - 1]:
            raise ValueError(f"steps.{cutovers[0]}: a cutover is the last step")
        return self
