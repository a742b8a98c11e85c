"""Which workers does each version have, which should it have, and why?

Joins leases (what workers say), needs (what documents say), supervisors (what they cannot do) and registered
versions. Each supervisor keeps a version's number of workers on its own machine. Pure;
called by the handlers of pools, models, routes and status, and by the checks before a commit.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.contract.pool import Keep, Lack, Lease, Supervision, Wanted, WorkerState
from gateway.contract.version import Version
from gateway.core.need import Need


@dataclass(frozen=True, slots=True)
class Worker:
    """`problem` says why a worker that calls itself ready gets no traffic."""

    worker_id: str
    address: str
    pid: int
    state: WorkerState
    age_s: float
    seen_s_ago: float
    problem: str | None


@dataclass(frozen=True, slots=True)
class Pool:
    """`wanted`: how many there should be now, on all machines; None where nobody asked for a number. `size`
    is that number for each machine, when it is needed; `stops_in_s` None: not while all stays as it is."""

    model: str
    version: str
    is_registered: bool
    wanted: int | None
    size: int | None
    keep: Keep | None
    reasons: tuple[str, ...]
    stops_in_s: float | None
    ready: int
    starting: int
    draining: int
    lacks: tuple[str, ...]
    is_stuck: bool
    workers: tuple[Worker, ...]

    @property
    def is_short(self) -> bool:
        return self.wanted is not None and self.ready < self.wanted


def ready_workers(leases: Iterable[Lease], versions: Mapping[str, Version]) -> Counter[str]:
    """Ready workers of each version of one model, those with the registered bytes only."""
    return Counter(
        lease.version
        for lease in leases
        if lease.state is WorkerState.READY
        and lease.version in versions
        and versions[lease.version].model == lease.model
        and versions[lease.version].digest == lease.digest
    )


def pools(
    leases: Iterable[Lease],
    *,
    now_ms: int,
    wanted: Mapping[tuple[str, str], Wanted],
    needs: Mapping[tuple[str, str], Need],
    versions: Mapping[tuple[str, str], Version],
    supervisors: Sequence[Supervision] = (),
) -> list[Pool]:
    """By model and version, in the alphabet's order; everything that has a version, a wish or a worker."""
    by_pool: dict[tuple[str, str], list[Worker]] = {name: [] for name in (*versions, *wanted)}
    for lease in leases:
        name = (lease.model, lease.version)
        by_pool.setdefault(name, []).append(_worker(lease, now_ms, versions.get(name)))
    return [
        _pool(name, found, wanted.get(name), needs.get(name), supervisors, name in versions, now_ms)
        for name, found in sorted(by_pool.items())
    ]


def _pool(
    name: tuple[str, str],
    workers: list[Worker],
    wish: Wanted | None,
    need: Need | None,
    supervisors: Sequence[Supervision],
    is_registered: bool,
    now_ms: int,
) -> Pool:
    states = Counter(worker.state for worker in workers if worker.problem is None)
    each = 0 if need is None else need.workers
    lacks = _lacks(name, supervisors) if each else []
    return Pool(
        model=name[0],
        version=name[1],
        is_registered=is_registered,
        wanted=None if wish is None else each * max(1, len(supervisors)),
        size=None if wish is None else wish.workers,
        keep=None if wish is None else wish.keep,
        reasons=() if need is None else need.reasons,
        stops_in_s=None if need is None or need.until_ms is None else (need.until_ms - now_ms) / 1000,
        ready=states[WorkerState.READY],
        starting=states[WorkerState.STARTING],
        draining=states[WorkerState.DRAINING],
        lacks=tuple(lack.sentence for lack in lacks),
        is_stuck=bool(lacks) and len(lacks) >= len(supervisors) and all(lack.is_stuck for lack in lacks),
        workers=tuple(sorted(workers, key=lambda worker: worker.worker_id)),
    )


def _lacks(name: tuple[str, str], supervisors: Sequence[Supervision]) -> list[Lack]:
    if not supervisors:
        return [Lack(sentence="no supervisor is running: start `turnout supervisor`", is_stuck=True)]
    told = ((one, one.lacks.get(" ".join(name))) for one in supervisors)
    return [
        lack.model_copy(update={"sentence": f"{one.host}: {lack.sentence}"} if len(supervisors) > 1 else {})
        for one, lack in told
        if lack is not None
    ]


def _worker(lease: Lease, now_ms: int, version: Version | None) -> Worker:
    problem = None
    if version is None:
        problem = "serves a version that is not registered"
    elif version.digest != lease.digest:
        problem = "serves another model file than the registered one"
    host = f"[{lease.host}]" if ":" in lease.host else lease.host
    return Worker(
        worker_id=lease.worker_id,
        address=f"{host}:{lease.port}",
        pid=lease.pid,
        state=lease.state,
        age_s=round(max(0, now_ms - lease.started_ms) / 1000, 1),
        seen_s_ago=round(max(0, now_ms - lease.seen_ms) / 1000, 1),
        problem=problem,
    )
