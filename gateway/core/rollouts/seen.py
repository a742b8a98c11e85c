"""What a rollout's step is decided from: everything that was observed, as values.

Made by the controller from Redis and from the outside (Prometheus, webhooks, workers); read by
`core.rollouts.rollout` and `core.rollouts.gates`; a rehearsal makes it from recorded traffic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.contract.rollout import Progress, Verdict
from gateway.contract.route import Route
from gateway.core.evidence.sums import Table


@dataclass(frozen=True, slots=True)
class Evidence:
    """Sums since the rollout began, and since the step did; `mature` leaves out young predictions.

    `mature_rollout` and `mature_step` are keyed by the gates' `maturity_s`; 0 is the same as without.
    """

    rollout: Table
    step: Table
    mature_rollout: Mapping[float, Table] = field(default_factory=dict)
    mature_step: Mapping[float, Table] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CutoverCheck:
    """What was tried at the candidate's workers before the switch; `problems` empty = fit to go live."""

    workers: int
    warmed_requests: int
    golden_passed: int
    golden_of: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """`evidence` is a sentence where it could not be read. `external`: what queries and webhooks gave, by
    the gate's position in `core.rollouts.gates.gates_of(plan, step)`: a verdict made by the controller."""

    now_ms: int  # by Redis' clock
    route: Route | None
    route_revision: int
    route_author: str
    gateways: int  # live ones
    gateways_behind: int  # live ones that do not serve the step's revision yet
    ready: Mapping[str, int]  # version -> ready workers
    progress: Progress  # as stored; of another step or rollout where that has just changed
    elapsed_s: float  # since the last tick, by the controller's monotonic clock; 0 for its first one
    evidence: Evidence | str
    external: Mapping[int, Verdict] = field(default_factory=dict)
    check: CutoverCheck | None = None  # None: not tried yet
    units: int | None = None  # of the candidate since the start, estimated
