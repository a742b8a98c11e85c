"""Why does a version have fewer workers on this machine than it should, in a sentence that says what to do?

Pure: `workers.supervisor` says what happened, `workers.report` tells it.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from gateway.contract.pool import Lack
from workers.staffing import Backoff, Pool

FETCHING = Lack(sentence="its model file is being fetched")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last try went wrong; `asked_at`: a later wish for the pool ends a crash loop's pause."""

    why: str
    backoff: Backoff
    asked_at: int


def lacks(
    wanted: Mapping[Pool, int],
    working: Mapping[Pool, int],
    *,
    failures: Mapping[Pool, Failure],
    refused: Set[Pool],
    fetching: Set[Pool],
    most: int,
    is_draining: bool,
    starting: Set[Pool],
    now_s: float,
) -> dict[Pool, Lack]:
    """`refused`: there was no room, and some will come where others drain. `starting`: some of the pool were
    just started. What is about to start lacks nothing."""
    found = {}
    for pool, count in wanted.items():
        failure = failures.get(pool)
        if working.get(pool, 0) >= count:
            continue
        if pool in refused:
            found[pool] = _full(most, is_stuck=not is_draining and pool not in starting)
        elif pool in fetching:
            found[pool] = FETCHING
        elif failure is not None and failure.backoff.not_before_s > now_s:
            found[pool] = _failing(failure, pool, now_s)
    return found


def _full(most: int, *, is_stuck: bool) -> Lack:
    return Lack(
        sentence=f"the machine has all {most} workers that it may have: scale something down with "
        "`turnout pools scale`, or raise `supervisor.max_workers`",
        is_stuck=is_stuck,
    )


def _failing(failure: Failure, pool: Pool, now: float) -> Lack:
    backoff = failure.backoff
    times = "once" if backoff.crashes == 1 else f"{backoff.crashes} times in a row"
    next_s = f"next try in {backoff.not_before_s - now:.0f} s"
    if not backoff.is_loop:
        return Lack(sentence=f"failed {times} ({failure.why}); {next_s}")
    again = f"or with `turnout pools start {pool[0]} {pool[1]}`"
    return Lack(sentence=f"crash loop: failed {times} ({failure.why}); {next_s}, {again}", is_stuck=True)
