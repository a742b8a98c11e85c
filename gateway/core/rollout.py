"""One look at a rollout: what is to be done now. Called by the rollout controller at every tick.

`decide` gets a rollout and all that was seen, and returns what to do next; it does nothing itself. The
controller performs the action in one commit, or not at all, and looks again.
"""

from dataclasses import dataclass

from gateway.contract.rollout import Progress, Rollout
from gateway.contract.route import Route
from gateway.core.seen import Seen


@dataclass(frozen=True, slots=True)
class Stay:
    """Nothing to commit; `progress` is to be stored."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Commit:
    """Write `rollout`, and `route` where it is given, in one commit; lost comparisons are looked at anew."""

    rollout: Rollout
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class CheckCandidate:
    """Warm the candidate's workers and ask them the golden requests; give the result as `Seen.check`."""

    progress: Progress


Action = Stay | Commit | CheckCandidate


def decide(rollout: Rollout, seen: Seen) -> Action:
    """The next action; the same input gives the same action."""
    raise NotImplementedError
