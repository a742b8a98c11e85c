"""The workers of one (model, version): who is there, who is trusted, who gets the next request.

Must not know: routes, clients, Redis. `PoolSet` is fed with leases by the gateway's follower.
"""

import asyncio
from collections.abc import Iterable

from gateway.contract.pool import Lease, WorkerState
from gateway.core.balance import least_of_two
from gateway.core.health import probe_delay_s, should_eject
from gateway.upstream.probe import answers
from gateway.upstream.worker import Worker


class Pool:
    """`ready` is what may be chosen from: a new list at every change."""

    def __init__(self, model: str, version: str) -> None:
        self.model = model
        self.version = version
        self.workers: dict[str, Worker] = {}
        self.serving: list[Worker] = []  # leased as ready, ejected or not
        self.ready: list[Worker] = []
        self.ejections = 0
        self.probing: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        return sum(worker.in_flight for worker in self.workers.values())

    @property
    def unsolicited(self) -> int:
        return sum(worker.unsolicited for worker in self.workers.values())

    def pick(self, draw: float, *, tried: Iterable[Worker] = ()) -> Worker | None:
        """A worker, rather one that was not tried; None when there is none that was not tried."""
        ready = self.ready
        if tried:
            ready = [worker for worker in ready if worker not in tried]
        if len(ready) < 2:
            return ready[0] if ready else None
        return least_of_two(ready, draw)

    def update(self, leases: Iterable[Lease]) -> None:
        """`leases`: the live ones of this version. A draining worker finishes, but gets nothing new."""
        present = {lease.worker_id: lease for lease in leases}
        for worker_id in self.workers.keys() - present.keys():
            worker = self.workers.pop(worker_id)
            worker.is_gone = True
            worker.close_unused()
        for worker_id, lease in present.items():
            if worker_id not in self.workers:
                self.workers[worker_id] = Worker(lease, self._consider)
        takes = {lease.worker_id for lease in present.values() if lease.state is WorkerState.READY}
        self.serving = [worker for worker_id, worker in self.workers.items() if worker_id in takes]
        self._choose_ready()

    def _choose_ready(self) -> None:
        trusted = [worker for worker in self.serving if not worker.is_ejected]
        self.ready = trusted or list(self.serving)

    def _consider(self, worker: Worker) -> None:
        """A worker failed once more: take it out?"""
        if worker.is_ejected or worker.is_gone:
            return
        ejected = sum(other.is_ejected for other in self.serving)
        if should_eject(consecutive_failures=worker.failures, ejected=ejected, pool_size=len(self.serving)):
            worker.is_ejected = True
            self.ejections += 1
            self._choose_ready()
            task = asyncio.get_running_loop().create_task(self._readmit(worker), name="upstream-probe")
            self.probing.add(task)
            task.add_done_callback(self.probing.discard)

    async def _readmit(self, worker: Worker) -> None:
        """Probe until the worker answers, then let it back in."""
        while not worker.is_gone:
            await asyncio.sleep(probe_delay_s(worker.failed_probes))
            if await answers(worker.host, worker.port):
                worker.failures = worker.failed_probes = 0
                worker.is_ejected = False
                self._choose_ready()
                return
            worker.failed_probes += 1


class PoolSet:
    """The pools of a gateway process that were asked for, or have workers; a pool once made is kept."""

    def __init__(self) -> None:
        self.pools: dict[tuple[str, str], Pool] = {}
        self.staffed: dict[tuple[str, str], Pool] = {}  # those with workers

    def get(self, model: str, version: str) -> Pool:
        pool = self.pools.get((model, version))
        if pool is None:
            pool = self.pools[(model, version)] = Pool(model, version)
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
