"""Keeps a gateway process at the newest revision: a hint wakes it, a poll heals lost hints.

Redis is never waited for by a request. While it is away the table stays as it is and leases do not end. A
revision lower than one seen before means that Redis lost its data: it is reported and never served.

Must not know: HTTP. Run by `process`.
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from gateway.contract.errors import UpstreamError
from gateway.contract.pool import LEASE_S, Lease, Presence
from gateway.core.compile import compile_changes
from gateway.dataplane import lastgood
from gateway.dataplane.table import Table
from gateway.store.documents import Documents
from gateway.store.fleet import FleetStore

POLL_S = 1.0
REREAD_S = 5.0  # how often every document is read again, to notice one that was edited behind the commit
REREAD_DOCUMENTS = 2_000  # reading more would cost milliseconds each time
log = logging.getLogger("turnout.gateway")


@dataclass(frozen=True, slots=True)
class Identity:
    gateway_id: str
    pid: int
    address: str
    started_ms: int


class Follower:
    def __init__(
        self,
        table: Table,
        documents: Documents,
        fleet: FleetStore,
        *,
        identity: Identity,
        path: Path,
    ) -> None:
        self.table = table
        self.documents = documents
        self.fleet = fleet
        self.identity = identity
        self.path = path
        self.woken = asyncio.Event()
        self.raw: dict[str, bytes] = {}  # as the documents lie in Redis
        self.good: dict[str, bytes] = {}  # the last of each that compiled
        self.leases: tuple[Lease, ...] = ()
        self.has_table = False
        self.is_table_lost = False
        self.confirmed_at = time.monotonic()  # when Redis last confirmed that we are at the newest revision
        self.reread_at = 0.0
        self.reachable_since: float | None = None

    @property
    def age_s(self) -> float:
        """Seconds since the snapshot was known to be the newest."""
        return time.monotonic() - self.confirmed_at

    def hint(self, message: bytes) -> None:
        """Something was published."""
        if not message.startswith(b"tick"):
            self.woken.set()

    def load_last_good(self) -> bool:
        """Serve what the disk remembers, until Redis says more; False when there is nothing."""
        last = lastgood.load(self.path)
        if last is None:
            return False
        self._apply(last.revision, dict(last.documents))
        self.leases = last.leases
        self.table.pools.update(last.leases)
        self.has_table = True
        return True

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            self.woken.clear()
            try:
                await self.follow()
            except UpstreamError as error:
                if self.reachable_since is not None:
                    log.warning("Redis is away, serving revision %d: %s", self.table.snapshot.revision, error)
                self.reachable_since = None
            # Not `asyncio.wait_for`: before Python 3.12 it can swallow a cancellation (cpython#86296).
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self.woken.wait()

    async def follow(self) -> None:
        """One round: documents, workers, presence."""
        now = time.monotonic()
        is_first = self.reachable_since is None
        is_due = now - self.reread_at > REREAD_S and len(self.raw) < REREAD_DOCUMENTS
        await self._follow_documents(everything=is_first or is_due)
        await self._announce()
        await self._follow_workers(is_first=is_first)
        self.confirmed_at = time.monotonic()
        if is_first:
            log.info("following Redis at revision %d", self.table.snapshot.revision)
            self.reachable_since = now

    async def _follow_documents(self, *, everything: bool) -> None:
        seen = self.table.snapshot.revision
        followed = await self.documents.follow(0 if everything else seen)
        if followed.revision < seen:
            if not self.is_table_lost:
                log.error(
                    "Redis is at revision %d, lower than %d: its data was lost. The last good routes stay.",
                    followed.revision,
                    seen,
                )
            self.is_table_lost = True
            return
        self.is_table_lost = False
        if everything:
            self.reread_at = time.monotonic()
        changed = {
            field: raw
            for field, raw in followed.changed.items()
            if field.startswith(("route/", "version/")) and raw != self.raw.get(field)
        }
        if changed or followed.revision > seen or not self.has_table:
            self._apply(followed.revision, changed)
            self.has_table = True
            if changed:
                self._save()

    def _apply(self, revision: int, changed: dict[str, bytes | None] | dict[str, bytes]) -> None:
        last = self.table.snapshot
        snapshot = compile_changes(last, revision=revision, changed=changed)
        for field, raw in changed.items():
            if raw is None:
                self.raw.pop(field, None)
                self.good.pop(field, None)
            else:
                self.raw[field] = raw
                if field not in snapshot.problems:
                    self.good[field] = raw
        for field, problem in snapshot.problems.items():
            if problem is not last.problems.get(field):
                log.error("%s is not served as it lies in Redis: %s", field, "; ".join(problem.problems))
        self.table.switch(snapshot)

    async def _follow_workers(self, *, is_first: bool) -> None:
        """Leases that ended while Redis was away get the time to be renewed."""
        fleet = await self.fleet.workers()
        leases = {lease.worker_id: lease for lease in fleet.leases}
        is_settling = is_first or time.monotonic() - (self.reachable_since or 0) < LEASE_S
        if is_settling:
            leases = {lease.worker_id: lease for lease in self.leases} | leases
        is_new = leases.keys() != {lease.worker_id for lease in self.leases}
        self.leases = tuple(leases.values())
        self.table.pools.update(self.leases)
        if is_new and self.has_table:
            self._save()

    async def _announce(self) -> None:
        identity = self.identity
        await self.fleet.announce_gateway(
            Presence(
                gateway_id=identity.gateway_id,
                pid=identity.pid,
                address=identity.address,
                revision=self.table.snapshot.revision,
                started_ms=identity.started_ms,
                problems=len(self.table.snapshot.problems),
            )
        )

    def _save(self) -> None:
        last = lastgood.LastGood(self.table.snapshot.revision, self.good, self.leases)
        try:
            lastgood.save(self.path, last)
        except OSError as error:
            log.warning("the last good snapshot could not be written to %s: %s", self.path, error)
