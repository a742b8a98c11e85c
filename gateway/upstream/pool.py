"""The workers of one (model, version): who is there, who is trusted, who gets the next request.

Must not know: routes, clients, Redis. `PoolSet` is fed with leases by the gateway's follower.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable
from itertools import accumulate
from random import random

from gateway.contract.pool import Lease, WorkerState
from gateway.core.balance import forgotten, least_of_two, least_of_two_by_weight, paces, ramp
from gateway.core.health import FAILURES_TO_EJECT, HALF_OPEN, choose, probe_delay_s
from gateway.core.limit import Gradient
from gateway.upstream.admission import Admission
from gateway.upstream.probe import answers
from gateway.upstream.worker import Worker

PER_WORKER = 128  # requests at one worker at once, until a route says otherwise
log = logging.getLogger("turnout.gateway")


class Pool:
    """`ready` is what may be chosen from: a new list at every change."""

    def __init__(self, model: str, version: str) -> None:
        self.model = model
        self.version = version
        self.workers: dict[str, Worker] = {}
        self.serving: list[Worker] = []  # leased as ready, ejected or not
        self.ready: list[Worker] = []
        self.upto: list[float] | None = None  # cumulative weights of `ready`; None = all weigh the same
        self.admission = Admission()
        self.per_worker = PER_WORKER
        self.slow_start_s = 0.0
        self.ejections = 0
        self.is_panic = False
        self.probing: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        return sum(worker.in_flight for worker in self.workers.values())

    @property
    def unsolicited(self) -> int:
        return sum(worker.unsolicited for worker in self.workers.values())

    def limit(self, per_worker: int, *, is_adaptive: bool) -> None:
        """How many requests may be at each worker, and whether latency decides within that."""
        self.per_worker = per_worker
        if is_adaptive != (self.admission.gradient is not None):
            self.admission.gradient = Gradient() if is_adaptive else None
        self.admission.set_most(per_worker * max(1, len(self.ready)))

    def pick(self) -> Worker | None:
        """A worker for a first attempt; None when there is none."""
        ready = self.ready
        if len(ready) < 2:
            return ready[0] if ready else None
        if self.upto is None:
            return least_of_two(ready, random())
        return least_of_two_by_weight(ready, self.upto, random(), random())

    def pick_other(self, tried: Collection[Worker]) -> Worker | None:
        """A worker that was not tried, rather one that is trusted; None when every one was tried."""
        others = [worker for worker in self.ready if worker not in tried]
        if self.is_panic:
            others = [worker for worker in others if not worker.is_ejected] or others
        return least_of_two(others, random()) if others else None

    def update(self, leases: Iterable[Lease]) -> None:
        """`leases`: the live ones of this version. A draining worker finishes, but gets nothing new."""
        present = {lease.worker_id: lease for lease in leases}
        for worker_id, worker in list(self.workers.items()):
            if worker_id not in present or not worker.is_leased_by(present[worker_id]):
                del self.workers[worker_id]
                worker.is_gone = True
                worker.close_unused()
        takes = {worker_id for worker_id, lease in present.items() if lease.state is WorkerState.READY}
        serving = {worker.worker_id for worker in self.serving}
        for worker_id, lease in present.items():
            if worker_id not in self.workers:
                self.workers[worker_id] = Worker(lease, self._consider)
            if worker_id in takes - serving and serving:  # the first ones of a pool have nobody to lean on
                self.workers[worker_id].ready_s = asyncio.get_running_loop().time()
        if takes != serving or any(worker.is_gone for worker in self.serving):
            self.serving = [worker for worker_id, worker in self.workers.items() if worker_id in takes]
            self._choose_ready()

    def look(self, now_s: float) -> None:
        """Every window: weigh the workers anew by warmth and latency, and the places by demand."""
        taken = [worker.take_answers() for worker in self.serving]
        answers, told_us = sum(number for number, _ in taken), sum(told for _, told in taken)
        looked_at = list(zip(self.serving, taken, strict=True))
        fastest_us = min((worker.latency_us for worker, (number, _) in looked_at if number), default=0.0)
        for worker, (number, _) in looked_at:
            if not number:
                worker.latency_us = forgotten(worker.latency_us, fastest_us)
        if answers or self.upto is not None:
            self._weigh(now_s)
        self.admission.look(now_s, answers=answers, told_us=told_us, workers=len(self.ready))

    def _weigh(self, now_s: float) -> None:
        ready = self.ready
        for worker, pace in zip(ready, paces([worker.latency_us for worker in ready]), strict=True):
            worker.weight = worker.capacity * pace * ramp(now_s - worker.ready_s, self.slow_start_s)
        weights = [worker.weight for worker in ready]
        is_level = not weights or min(weights) == max(weights)
        self.upto = None if is_level else list(accumulate(weights))

    def _choose_ready(self) -> None:
        """Who may be chosen now; says so when that has come to be everybody for want of trusted ones."""
        places, is_panic = choose([worker.trust for worker in self.serving])
        if is_panic and not self.is_panic:
            log.error(
                "%s %s: fewer than half of its %d workers answer as they should; all of them are used",
                *(self.model, self.version, len(self.serving)),
            )
        self.is_panic = is_panic
        self.ready = [self.serving[place] for place in places]
        self._weigh(asyncio.get_running_loop().time())
        self.admission.set_most(self.per_worker * max(1, len(self.ready)))

    def _consider(self, worker: Worker) -> None:
        """A worker failed once more: take it out?"""
        is_needed = len(self.serving) < 2 and not worker.is_refusing
        if worker.is_ejected or worker.is_gone or is_needed or worker.failures < FAILURES_TO_EJECT:
            return
        worker.is_ejected = True
        self.ejections += 1
        self._choose_ready()
        task = asyncio.get_running_loop().create_task(self._readmit(worker), name="upstream-probe")
        self.probing.add(task)
        task.add_done_callback(self.probing.discard)

    async def _readmit(self, worker: Worker) -> None:
        """Probe until the worker answers, then let it back in, half open."""
        while not worker.is_gone:
            await asyncio.sleep(probe_delay_s(worker.failed_probes))
            if await answers(worker.host, worker.port):
                worker.failures = HALF_OPEN
                worker.is_ejected = worker.is_refusing = False
                worker.ready_s = asyncio.get_running_loop().time()
                worker.latency_us = 0.0
                self._choose_ready()
                return
            worker.failed_probes += 1


class PoolSet:
    """The pools of a gateway process that were asked for, or have workers; a pool once made is kept."""

    def __init__(self, *, slow_start_s: float = 0.0) -> None:
        self.slow_start_s = slow_start_s
        self.pools: dict[tuple[str, str], Pool] = {}
        self.staffed: dict[tuple[str, str], Pool] = {}  # those with workers

    def get(self, model: str, version: str) -> Pool:
        pool = self.pools.get((model, version))
        if pool is None:
            pool = self.pools[(model, version)] = Pool(model, version)
            pool.slow_start_s = self.slow_start_s
        return pool

    def update(self, leases: Iterable[Lease]) -> None:
        """Hand every pool its leases."""
        by_version: dict[tuple[str, str], list[Lease]] = {}
        for lease in leases:
            by_version.setdefault((lease.model, lease.version), []).append(lease)
        for key in self.staffed.keys() - by_version.keys():
            self.staffed.pop(key).update(())
        for key, present in by_version.items():
            pool = self.staffed[key] = self.get(*key)
            pool.update(present)

    def look(self, now_s: float) -> None:
        """Let every pool with workers weigh them anew; call it a few times a second."""
        for pool in self.staffed.values():
            pool.look(now_s)

    def close_unused(self) -> None:
        """Close connections that were not used since the last call."""
        for pool in self.staffed.values():
            for worker in pool.workers.values():
                worker.close_unused()

    async def close(self) -> None:
        """Close every connection and end every probe."""
        tasks = [task for pool in self.pools.values() for task in pool.probing]
        for pool in self.pools.values():
            for worker in pool.workers.values():
                worker.is_gone = True
                worker.close_unused()
                tasks += list(worker.opening)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
