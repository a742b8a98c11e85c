"""Which workers to start, to stop and to wait with, so that each version has as many as are wanted.

Crashes back off per version: the first restart comes after `first_s`, each further one after twice the time,
up to `max_s`; a worker that lived for `healthy_s` starts the count anew. After `quick_failures` in a row, a
crash loop, the next try comes after `quarantine_s`. A worker that ended because it was told to is no crash.
Stopped first are the youngest. A machine has `most` workers at once, those that drain included; who comes
first in `wanted` comes first.

Pure: time comes as `now_s`. The shell is `workers.supervisor`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

Pool = tuple[str, str]  # model, version


@dataclass(frozen=True, slots=True)
class Patience:
    first_s: float
    max_s: float
    healthy_s: float
    quick_failures: int
    quarantine_s: float


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often a pool's workers crashed in a row, and when the next may start."""

    crashes: int
    not_before_s: float
    is_loop: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """A worker that was started and has not ended. `stop_by_s`: it was told to end, and gets until then."""

    worker_id: str
    pool: Pool
    started_s: float
    stop_by_s: float | None = None


@dataclass(frozen=True, slots=True)
class Start:
    pool: Pool


@dataclass(frozen=True, slots=True)
class Refuse:
    """A worker that is needed does not fit on this machine."""

    pool: Pool


@dataclass(frozen=True, slots=True)
class Stop:
    worker_id: str


@dataclass(frozen=True, slots=True)
class Kill:
    worker_id: str


Action = Start | Refuse | Stop | Kill


def decide(
    wanted: Mapping[Pool, int],
    members: Collection[Member],
    backoffs: Mapping[Pool, Backoff],
    now_s: float,
    *,
    most: int,
) -> list[Action]:
    """What to do now; pools that are not in `wanted` are wanted no longer."""
    actions: list[Action] = []
    working: dict[Pool, list[Member]] = {}
    for member in members:
        if member.stop_by_s is None:
            working.setdefault(member.pool, []).append(member)
        elif now_s >= member.stop_by_s:
            actions.append(Kill(member.worker_id))
    room = most - len(members)
    for pool in (*wanted, *sorted(working.keys() - wanted.keys())):
        present = sorted(working.get(pool, ()), key=lambda member: member.started_s)
        count = wanted.get(pool, 0)
        actions += [Stop(member.worker_id) for member in present[count:]]
        backoff = backoffs.get(pool)
        missing = count - len(present)
        if missing > 0 and (backoff is None or now_s >= backoff.not_before_s):
            fitting = min(missing, max(0, room))
            actions += [Start(pool)] * fitting + [Refuse(pool)] * (missing > fitting)
            room -= fitting
    return actions


def after_crash(backoff: Backoff | None, *, lived_s: float, now_s: float, patience: Patience) -> Backoff:
    """The pool's back-off once more."""
    before = 0 if backoff is None or lived_s >= patience.healthy_s else backoff.crashes
    if before + 1 >= patience.quick_failures:
        return Backoff(before + 1, now_s + patience.quarantine_s, is_loop=True)
    wait_s = min(patience.max_s, patience.first_s * 2.0 ** min(before, 32))
    return Backoff(before + 1, now_s + wait_s)
