"""Keeps a gateway process at the newest revision: a hint wakes it, a poll heals lost hints.

Redis is never waited for by a request. While it is away the table stays as it is and leases do not end. A
revision lower than one seen before means that Redis lost its data: it is reported and never served.

Must not know: HTTP. Run by `process`.
"""

import asyncio
import contextlib
import logging
import resource
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.contract.errors import UpstreamError
from gateway.contract.pool import PRESENT_S, Lease, Presence
from gateway.core.compile import EMPTY, Snapshot, compile_changes
from gateway.dataplane import lastgood
from gateway.dataplane.door import Door
from gateway.dataplane.refused import LastMinute
from gateway.dataplane.table import Table
from gateway.store.documents import Documents, Page
from gateway.store.fleet import FleetStore

POLL_S = 1.0
ROUND_S = 0.02  # of hints that come faster than this, many are followed at once
REREAD_S = 5.0  # how often a page of documents is read again, to notice one that was edited behind the commit
PART_DOCUMENTS = 500  # compiled at once: a few ms of the event loop
SAVE_REST = 20  # times as long as a save took passes before the next
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
        door: Door,
        rejected: Mapping[str, int],
    ) -> None:
        self.table = table
        self.rejected = rejected
        self.last_minute = LastMinute()
        self.door = door
        self.documents = documents
        self.fleet = fleet
        self.identity = identity
        self.path = path
        self.woken = asyncio.Event()
        self.rounds = 0
        self.leases: tuple[Lease, ...] = ()
        self.is_remembering = False  # `leases` are what the disk held
        self.has_table = False
        self.is_table_lost = False
        self.confirmed_at = time.monotonic()  # when Redis last confirmed that we are at the newest revision
        self.reread_at = time.monotonic()
        self.reread_from = 0  # revision
        self.unsaved = asyncio.Event()
        self.disk = ThreadPoolExecutor(1, thread_name_prefix="last-good")  # one: saves stay in order
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
        self._serve(compile_changes(EMPTY, revision=last.revision, changed=last.documents))
        self.unsaved.clear()
        self.leases = last.leases
        self.is_remembering = True
        self.table.pools.update(last.leases)
        self.has_table = True
        return True

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            self.woken.clear()
            started = time.monotonic()
            try:
                await self.follow()
            except UpstreamError as error:
                if self.reachable_since is not None:
                    log.warning("Redis is away, serving revision %d: %s", self.table.snapshot.revision, error)
                self.reachable_since = None
            await asyncio.sleep(started + ROUND_S - time.monotonic())
            # Not `asyncio.wait_for`: before Python 3.12 it can swallow a cancellation (cpython#86296).
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self.woken.wait()

    async def follow(self) -> None:
        """One round: documents, workers, presence."""
        self.rounds += 1
        now = time.monotonic()
        is_first = self.reachable_since is None
        await self._follow_documents(everything=is_first)
        if now - self.reread_at > REREAD_S and not self.is_table_lost:
            await self._reread()
        await self._announce()
        await self._follow_workers(is_first=is_first)
        self.confirmed_at = time.monotonic()
        if is_first:
            log.info("following Redis at revision %d", self.table.snapshot.revision)
            self.reachable_since = now

    async def _follow_documents(self, *, everything: bool) -> None:
        """Compile page by page what changed, and serve all of it at once."""
        draft = self.table.snapshot
        seen = draft.revision
        page = await self.documents.page(0 if everything else seen)
        while page.revision >= seen:
            draft = await _compiled(draft, page)
            if page.is_last:
                self.is_table_lost = False
                self._serve(draft)
                self.has_table = True
                return
            page = await self.documents.page(page.upto)
        if not self.is_table_lost:
            log.error(
                "Redis is at revision %d, lower than %d: its data was lost. The last good routes stay.",
                page.revision,
                seen,
            )
        self.is_table_lost = True

    async def _reread(self) -> None:
        """Read the next page of all documents again; a page from amid a commit waits for the next round."""
        page = await self.documents.page(self.reread_from)
        if page.revision == self.table.snapshot.revision:
            self._serve(await _compiled(self.table.snapshot, page))
            self.reread_from = 0 if page.is_last else page.upto
            self.reread_at = time.monotonic()

    def _serve(self, snapshot: Snapshot) -> None:
        last = self.table.snapshot
        for field in snapshot.problems.differing(last.problems):
            problem, known = snapshot.problems.get(field), last.problems.get(field)
            if problem is not None and (known is None or known.problems != problem.problems):
                log.error("%s is not served as it lies in Redis: %s", field, "; ".join(problem.problems))
        self.table.switch(snapshot)
        self.door.switch(snapshot.access)
        if snapshot.models is not last.models or snapshot.access is not last.access:
            self.unsaved.set()

    async def _follow_workers(self, *, is_first: bool) -> None:
        """Leases that ended while Redis was away get the time to be renewed; those that the disk remembers
        only if they were not withdrawn since."""
        fleet = await self.fleet.workers()
        leases = {lease.worker_id: lease for lease in fleet.leases}
        is_settling = is_first or time.monotonic() - (self.reachable_since or 0) < PRESENT_S
        if is_settling:
            ended = {lease.worker_id for lease in fleet.ended}
            knows_all = self.is_remembering and not self.is_table_lost
            kept = [lease for lease in self.leases if not knows_all or lease.worker_id in ended]
            leases = {lease.worker_id: lease for lease in kept} | leases
        self.is_remembering = False
        is_new = leases.keys() != {lease.worker_id for lease in self.leases}
        self.leases = tuple(leases.values())
        self.table.pools.update(self.leases)
        if is_new and self.has_table:
            self.unsaved.set()

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
                at_ms=time.time_ns() // 1_000_000,
                files_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                refused=self.last_minute.read(self.rejected, time.monotonic()),
            )
        )

    async def keep_saving(self) -> None:
        """Save what changed, until cancelled; a large table less often than a small one."""
        while True:
            await self.unsaved.wait()
            self.unsaved.clear()
            started = time.monotonic()
            await asyncio.get_running_loop().run_in_executor(self.disk, self._save)
            await asyncio.sleep(SAVE_REST * (time.monotonic() - started))

    async def save_last(self) -> None:
        """Save what is not saved yet, as the process ends."""
        if self.unsaved.is_set():
            await asyncio.get_running_loop().run_in_executor(self.disk, self._save)
        self.disk.shutdown()

    def _save(self) -> None:
        try:
            lastgood.save(self.path, self.table.snapshot, self.leases)
        except OSError as error:
            log.warning("the last good snapshot could not be written to %s: %s", self.path, error)


async def _compiled(last: Snapshot, page: Page) -> Snapshot:
    """The snapshot with this page in it, made in parts between which the event loop does other work."""
    fields = list(page.changed)
    snapshot = replace(last, revision=page.revision)
    for first in range(0, len(fields), PART_DOCUMENTS):
        part = {field: page.changed[field] for field in fields[first : first + PART_DOCUMENTS]}
        snapshot = compile_changes(snapshot, revision=page.revision, changed=part)
        await asyncio.sleep(0)
    return snapshot
