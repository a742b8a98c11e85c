"""What a look at a rollout may ask for. Made by `core.rollouts.rollout` and `core.rollouts.rollout_commands`,
performed by the controller and the control API."""

from dataclasses import dataclass

from gateway.contract.rollout import Progress, Rollout
from gateway.contract.route import Route


@dataclass(frozen=True, slots=True)
class Stay:
    """Nothing to commit; `progress` is to be stored."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Commit:
    """Write `rollout`, and `route` where it is given, in one commit; lost comparisons are looked at anew.

    Where a route is given, `rollout.step_revision` is None: the revision that this very commit gets.
    """

    rollout: Rollout
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class CheckCandidate:
    """Warm the candidate's workers and ask them the golden requests; give the result as `Seen.check`."""

    progress: Progress


Action = Stay | Commit | CheckCandidate
