"""All that a rollout is decided from, read from Redis in a few small calls.

What is kept between two looks is a copy (evidence), or costs time only when it is lost (when the last look
was, what was tried at the workers). Nothing is decided here. Called by `control.rollouts.controller`.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from gateway.contract import keys
from gateway.contract.errors import UpstreamError
from gateway.contract.rollout import Progress, Rollout, Verdict
from gateway.contract.version import Version
from gateway.control.pools.report import ready_workers
from gateway.control.rollouts.recent import Recent
from gateway.control.rollouts.windows import MINUTE_MS, evidence_of, first_minute, with_marks
from gateway.control.routing.stored import read_stored
from gateway.core.rollouts.gates import gates_of
from gateway.core.rollouts.seen import CutoverCheck, Evidence, Seen
from gateway.store.documents import Documents
from gateway.store.fleet import FleetStore
from gateway.store.lease import Leases
from gateway.store.predictions import Predictions

MOST_ELAPSED_S = 5.0  # what one look may count: a process that slept, however long, saw no more than this


@dataclass(slots=True)
class Memory:
    """What one controller remembers of one rollout."""

    rollout_id: str
    recent: Recent
    looked_s: float | None = None  # monotonic; None where the time since must not count
    served: int = 0  # the revision that every gateway served then
    check: tuple[int, CutoverCheck] | None = None  # of this step


@dataclass(slots=True)
class Observer:
    documents: Documents
    fleet: FleetStore
    predictions: Predictions
    leases: Leases
    clock: Callable[[], float] = time.monotonic
    memories: dict[str, Memory] = field(default_factory=dict)

    async def see(self, rollout: Rollout, *, external: Mapping[int, Verdict]) -> Seen:
        """`rollout` is as of the revision of its document."""
        model = rollout.model
        progress = await self.leases.progress(model)
        memory = self.memory_of(rollout, progress)
        stored = await read_stored(self.documents, model)
        gateways = await self.fleet.gateways()
        fleet = await self.fleet.workers()
        serving = rollout.step_revision or 0
        progress = progress or Progress(rollout_id=rollout.rollout_id, step=rollout.step)
        progress, evidence = await self._evidence(rollout, progress, memory.recent, now_ms=fleet.now_ms)
        versions = await self._versions(model, (rollout.baseline, rollout.candidate))
        units = None  # who its units are is not known without `sticky`
        if stored.route is not None and stored.route.sticky is not None:
            units = await self.predictions.units(model, rollout.rollout_id, rollout.candidate)
        behind = sum(gateway.revision < serving for gateway in gateways)
        elapsed_s = self._elapsed_s(memory, serving=serving, is_served=bool(gateways) and not behind)
        check = memory.check
        return Seen(
            now_ms=fleet.now_ms,
            route=stored.route,
            route_revision=stored.revision,
            route_author="" if stored.last is None else stored.last.author,
            gateways=len(gateways),
            gateways_behind=behind,
            ready=ready_workers(fleet.leases, versions),
            progress=progress,
            elapsed_s=elapsed_s,
            evidence=evidence,
            external=external,
            check=check[1] if check is not None and check[0] == rollout.step else None,
            units=units,
        )

    def _elapsed_s(self, memory: Memory, *, serving: int, is_served: bool) -> float:
        """Since the last look, if all gateways served the step then too."""
        now_s = self.clock()
        counts = memory.looked_s is not None and memory.served == serving
        elapsed_s = now_s - (memory.looked_s or 0.0) if counts else 0.0
        memory.looked_s, memory.served = now_s if is_served else None, serving
        return min(MOST_ELAPSED_S, max(0.0, elapsed_s))

    def memory_of(self, rollout: Rollout, progress: Progress | None = None) -> Memory:
        memory = self.memories.get(rollout.model)
        if memory is None or memory.rollout_id != rollout.rollout_id:
            recent = Recent(self.predictions, rollout.model, first_minute(progress, rollout))
            memory = self.memories[rollout.model] = Memory(rollout.rollout_id, recent)
        return memory

    def forget(self, *, but: Iterable[str] = ()) -> None:
        """What is remembered of models that have no rollout any more; all of it by who does not lead."""
        kept = set(but)
        self.memories = {model: memory for model, memory in self.memories.items() if model in kept}

    async def _evidence(
        self, rollout: Rollout, progress: Progress, recent: Recent, *, now_ms: int
    ) -> tuple[Progress, Evidence | str]:
        try:
            await recent.read(now_ms // MINUTE_MS)
        except UpstreamError as error:
            return progress, f"the evidence could not be read: {error.message}"
        step = rollout.plan.steps[rollout.step]
        marked = with_marks(progress, rollout, recent.minute, now_ms=now_ms)
        ages_s = [gate.maturity_s for gate in gates_of(rollout.plan, step)]
        return marked, evidence_of(marked, recent.total, maturities_s=ages_s, now_ms=now_ms)

    async def _versions(self, model: str, names: Iterable[str]) -> dict[str, Version]:
        found = {}
        for name in names:
            envelope = await self.documents.get(keys.version_field(model, name))
            try:
                found[name] = Version.model_validate(None if envelope is None else envelope.doc)
            except ValidationError:
                continue
        return found
