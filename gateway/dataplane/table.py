"""What a gateway process serves: the snapshot bound to pools, counters and ready-made header bytes.

The look-up of a request is one dictionary access by its path. `switch` replaces everything that a snapshot
changed in one go between two events of the loop, so that no request sees half of a commit; a request keeps
the entry that it found to its end.

Must not know: Redis, sockets. Read by `exchange`, fed by `follower`.
"""

from collections.abc import Iterable

from gateway.contract import headers as h
from gateway.contract.evidence import PRIMARY, SHADOW
from gateway.contract.record import Kind, bucket_size, reason_codes
from gateway.contract.route import Route, Weight
from gateway.core.compile import EMPTY, Snapshot
from gateway.core.decide import CompiledRoute, CompiledShadow, compile_route
from gateway.core.retry import RetryBudget
from gateway.dataplane.outputs import output_named
from gateway.dataplane.recorder import ModelRecorder, Recorder
from gateway.dataplane.tally import Tallies
from gateway.upstream.pool import Pool, PoolSet


class Target:
    """One version as an answerer of one model's requests at one revision."""

    __slots__ = (
        "kind", "kind_code", "output", "pool", "record_head", "reply_heads", "revision", "shadow_tally",
        "tally", "upstream_head", "version",
    )  # fmt: skip

    def __init__(
        self,
        model: str,
        version: str,
        *,
        revision: int,
        pool: Pool,
        tallies: Tallies,
        output: tuple[str, Kind],
    ) -> None:
        self.version = version
        self.revision = revision
        self.pool = pool
        self.tally = tallies.of(model, version, PRIMARY)
        self.shadow_tally = tallies.of(model, version, SHADOW)
        self.output, self.kind = output
        self.kind_code = self.kind.encode()
        self.upstream_head = (
            f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: worker\r\n"
            f"{h.RECORD.decode()}: {self.output}\r\n"
        ).encode()
        self.record_head = f'["{version}",{revision},'.encode()
        self.reply_heads: dict[str, bytes] = {}

    def reply_head(self, reason: str) -> bytes:
        """Reply headers that say who answered and why."""
        head = self.reply_heads.get(reason)
        if head is None:
            head = self.reply_heads[reason] = (
                f"turnout-version: {self.version}\r\nturnout-revision: {self.revision}\r\n"
                f"turnout-reason: {reason}\r\n"
            ).encode()
        return head


class Entry:
    """One model's route, ready to serve."""

    __slots__ = (
        "attempts", "budget", "compiled", "earn", "fallback", "hedge_s", "is_routed", "model", "reason_codes",
        "record_share", "recorder", "shadows", "targets", "timeout_s", "tolerance",
    )  # fmt: skip

    def __init__(
        self,
        compiled: CompiledRoute,
        *,
        is_routed: bool,
        targets: dict[str, Target],
        budget: RetryBudget,
        recorder: ModelRecorder,
    ) -> None:
        route = compiled.route
        self.model = route.model
        self.compiled = compiled
        self.is_routed = is_routed
        self.targets = targets
        self.fallback = targets.get(route.fallback) if route.fallback else None
        self.hedge_s = None if route.hedge is None else route.hedge.after_ms / 1000
        for target in targets.values():
            target.pool.limit(route.concurrency.per_worker, is_adaptive=route.concurrency.adaptive)
        self.shadows: tuple[tuple[CompiledShadow, Target], ...] = tuple(
            (shadow, targets[shadow.version]) for shadow in compiled.shadows
        )
        self.attempts = route.retry.attempts
        self.earn = route.retry.budget_percent / 100
        self.budget = budget
        self.timeout_s = route.timeout_s
        self.tolerance = route.record.tolerance
        self.reason_codes = reason_codes([rule.reason for rule in compiled.rules])
        self.record_share = route.record.percent / 100
        self.recorder = recorder
        recorder.ttl_s = route.record.ttl_s
        recorder.bucket_size = bucket_size(len(self.shadows))


Found = tuple[Entry, str | None]  # the entry and the version that the path pins


class Table:
    """`by_path` maps request paths, as they stand in a request line, to what serves them."""

    def __init__(self, pools: PoolSet, recorder: Recorder, tallies: Tallies) -> None:
        self.pools = pools
        self.recorder = recorder
        self.tallies = tallies
        self.snapshot = EMPTY
        self.by_path: dict[bytes, Found] = {}
        self.entries: dict[str, Entry] = {}
        self.paths: dict[str, list[bytes]] = {}

    def switch(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from the next request on."""
        last, self.snapshot = self.snapshot, snapshot
        for model in _changed_models(last, snapshot):
            for path in self.paths.pop(model, ()):
                del self.by_path[path]
            entry = self._bind(model)
            if entry is None:
                self.entries.pop(model, None)
            else:
                self._list(entry)

    def _bind(self, model: str) -> Entry | None:
        snapshot = self.snapshot
        registered = snapshot.versions.get(model, {})
        compiled = snapshot.routes.get(model)
        is_routed = compiled is not None
        if compiled is None:
            if not registered:
                return None
            # A model without a route can be asked by version: this route is never used to choose one.
            only = Weight(version=next(iter(registered)), weight=100)
            compiled = compile_route(Route(model=model, split=(only,)), revision=snapshot.revision)
        wanted = compiled.route.record.output
        targets = {
            version: Target(
                model,
                version,
                revision=compiled.revision,
                pool=self.pools.get(model, version),
                tallies=self.tallies,
                output=output_named(registered[version].signature if version in registered else None, wanted),
            )
            for version in registered.keys() | compiled.route.versions()
        }
        last = self.entries.get(model)
        return Entry(
            compiled,
            is_routed=is_routed,
            targets=targets,
            budget=RetryBudget() if last is None else last.budget,
            recorder=self.recorder.of(model),
        )

    def _list(self, entry: Entry) -> None:
        base = f"/v2/models/{entry.model}"
        found: dict[bytes, Found] = {
            f"{base}/versions/{version}/infer".encode(): (entry, version) for version in entry.targets
        }
        if entry.is_routed:
            found[f"{base}/infer".encode()] = (entry, None)
        self.by_path.update(found)
        self.paths[entry.model] = list(found)
        self.entries[entry.model] = entry


def _changed_models(last: Snapshot, snapshot: Snapshot) -> Iterable[str]:
    for model in (
        last.routes.keys() | snapshot.routes.keys() | last.versions.keys() | snapshot.versions.keys()
    ):
        is_same_route = last.routes.get(model) is snapshot.routes.get(model)
        if not is_same_route or last.versions.get(model) != snapshot.versions.get(model):
            yield model
