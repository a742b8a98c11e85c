"""Which workers does each version have, and which should it have?

Joins leases (what workers say), wanted documents (what operators asked for) and registered versions. Pure;
called by the handlers of pools, models, routes and status, and by the checks before a commit.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.contract.pool import Lease, WorkerState
from gateway.contract.version import Version


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
    """`wanted` is None where nobody asked for a number."""

    model: str
    version: str
    is_registered: bool
    wanted: int | None
    ready: int
    starting: int
    draining: int
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
    wanted: Mapping[tuple[str, str], int],
    versions: Mapping[tuple[str, str], Version],
) -> list[Pool]:
    """By model and version, in the alphabet's order; everything that has a version, a wish or a worker."""
    by_pool: dict[tuple[str, str], list[Worker]] = {name: [] for name in (*versions, *wanted)}
    for lease in leases:
        name = (lease.model, lease.version)
        by_pool.setdefault(name, []).append(_worker(lease, now_ms, versions.get(name)))
    return [_pool(name, found, wanted, versions) for name, found in sorted(by_pool.items())]


def _pool(
    name: tuple[str, str],
    workers: list[Worker],
    wanted: Mapping[tuple[str, str], int],
    versions: Mapping[tuple[str, str], Version],
) -> Pool:
    states = Counter(worker.state for worker in workers if worker.problem is None)
    return Pool(
        model=name[0],
        version=name[1],
        is_registered=name in versions,
        wanted=wanted.get(name),
        ready=states[WorkerState.READY],
        starting=states[WorkerState.STARTING],
        draining=states[WorkerState.DRAINING],
        workers=tuple(sorted(workers, key=lambda worker: worker.worker_id)),
    )


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
