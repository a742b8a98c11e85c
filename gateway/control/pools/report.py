"""Which workers does each version have, which should it have, and why?

Joins leases (what workers say), needs (what documents say), supervisors (what they cannot do) and registered
versions. Each supervisor keeps a version's number of workers on its own machine. Pure;
called by the handlers of pools, models, routes and status, and by the checks before a commit.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.contract.pool import Keep, Lack, Lease, Supervision, WorkerState
from gateway.contract.version import Version
from gateway.control.pools.needs import Known

Name = tuple[str, str]  # model, version


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
    is_short: bool


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


@dataclass(frozen=True, slots=True)
class Pools:
    """What all pools are told from: what is `known` of each model at `revision`, leases of each pool."""

    now_ms: int
    revision: int
    known: Mapping[str, Known]
    leases: Mapping[Name, Sequence[Lease]]
    supervisors: Sequence[Supervision] = ()

    def models(self) -> set[str]:
        """Those that have a version, a wish or a worker."""
        known = {model for model, one in self.known.items() if one.versions or one.wanted}
        return known | {model for model, _ in self.leases}

    def active(self) -> list[Pool]:
        """Those that need workers or have some, by model and version, in the alphabet's order."""
        needed = {
            (model, version) for model, known in self.known.items() for version in known.needs(self.now_ms)
        }
        return [self.pool(*name) for name in sorted(needed | self.leases.keys())]

    def of_model(self, model: str) -> list[Pool]:
        """The same of one model, and everything else of it that has a version or a wish."""
        known = self.known.get(model, Known())
        there = {version for name, version in self.leases if name == model}
        return [self.pool(model, version) for version in sorted({*known.versions, *known.wanted, *there})]

    def pool(self, model: str, version: str) -> Pool:
        known = self.known.get(model, Known())
        registered = known.versions.get(version)
        wish, need = known.wanted.get(version), known.needs(self.now_ms).get(version)
        workers = [_worker(lease, self.now_ms, registered) for lease in self.leases.get((model, version), ())]
        each = 0 if need is None else need.workers
        lacks = _lacks((model, version), self.supervisors) if each else []
        wanted = None if wish is None else each * max(1, len(self.supervisors))
        ready = _in_state(workers, WorkerState.READY)
        is_stuck = bool(lacks) and len(lacks) >= len(self.supervisors)
        return Pool(
            model=model,
            version=version,
            is_registered=registered is not None,
            wanted=wanted,
            size=None if wish is None else wish.workers,
            keep=None if wish is None else wish.keep,
            reasons=() if need is None else need.reasons,
            stops_in_s=None
            if need is None or need.until_ms is None
            else (need.until_ms - self.now_ms) / 1000,
            ready=ready,
            is_short=wanted is not None and ready < wanted,
            starting=_in_state(workers, WorkerState.STARTING),
            draining=_in_state(workers, WorkerState.DRAINING),
            lacks=tuple(lack.sentence for lack in lacks),
            is_stuck=is_stuck and all(lack.is_stuck for lack in lacks),
            workers=tuple(sorted(workers, key=lambda worker: worker.worker_id)),
        )


def _in_state(workers: Sequence[Worker], state: WorkerState) -> int:
    return sum(worker.state is state and worker.problem is None for worker in workers)


def by_pool(leases: Iterable[Lease]) -> dict[Name, list[Lease]]:
    found: dict[Name, list[Lease]] = {}
    for lease in leases:
        found.setdefault((lease.model, lease.version), []).append(lease)
    return found


def _lacks(name: Name, supervisors: Sequence[Supervision]) -> list[Lack]:
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
