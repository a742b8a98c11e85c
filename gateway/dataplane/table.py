"""What a gateway process serves: the snapshot bound to pools, counters and ready-made header bytes.

The look-up of a request is one dictionary access by its path; a model is bound at the first request for it.
`switch` drops everything that a snapshot changed in one go between two events of the loop, so that no request
sees half of a commit; a request keeps the entry that it found to its end.

Must not know: Redis, sockets. Read by `exchange`, fed by `follower`.
"""

import re
from typing import TYPE_CHECKING

from gateway.contract import headers as h
from gateway.contract.evidence import PRIMARY, SHADOW
from gateway.contract.record import Kind, bucket_size, reason_codes
from gateway.contract.reply import PLAIN_JSON
from gateway.contract.route import Concurrency, Route, Weight
from gateway.contract.standing import State
from gateway.core.announce import announcement, farewell
from gateway.core.compile import EMPTY, Snapshot
from gateway.core.decide import CompiledRoute, CompiledShadow, compile_route
from gateway.core.kept import Model
from gateway.core.retry import RetryBudget
from gateway.dataplane.notes import Counting, Notes, notes_for
from gateway.dataplane.outputs import output_named
from gateway.dataplane.recorder import ModelRecorder, Recorder
from gateway.dataplane.tally import Tallies, Tally
from gateway.upstream.pool import Pool, PoolSet

JSON_LINE = b"content-type: application/json\r\n"


class Target:
    """One version as an answerer of one model's requests at one revision.

    `pool`, `tally` and `shadow_tally` are looked up (or made) when a request or copy uses them first.
    """

    __slots__ = (
        "announcement", "concurrency", "kind", "kind_code", "model", "output", "pool", "record_head",
        "reply_heads", "revision", "shadow_tally", "table", "tally", "upstream_head", "usual_head", "version",
    )  # fmt: skip
    pool: Pool
    tally: Tally
    shadow_tally: Tally

    def __init__(
        self,
        table: "Table",
        model: str,
        version: str,
        *,
        revision: int,
        output: tuple[str, Kind],
        concurrency: Concurrency,
        timeout_s: float,
        announcement: str,
    ) -> None:
        self.table = table
        self.announcement = announcement  # reply headers of a version that ends
        self.concurrency = concurrency
        self.model = model
        self.version = version
        self.revision = revision
        self.output, self.kind = output
        self.kind_code = self.kind.encode()
        self.upstream_head = (
            f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: worker\r\n"
            f"{h.RECORD.decode()}: {self.output}\r\n"
        ).encode()
        self.usual_head = self.head(JSON_LINE, max(1, round(timeout_s * 1000)))
        self.record_head = f'["{version}",{revision},'.encode()
        self.reply_heads: dict[str, bytes] = {}

    if not TYPE_CHECKING:  # which would take it for leave to read any attribute

        def __getattr__(self, name: str) -> Pool | Tally:
            """Called where a slot is empty."""
            table = self.table
            match name:
                case "pool":
                    found = table.pools.get(self.model, self.version)
                    found.limit(self.concurrency.per_worker, is_adaptive=self.concurrency.adaptive)
                case "tally":
                    found = table.tallies.of(self.model, self.version, PRIMARY)
                case "shadow_tally":
                    found = table.tallies.of(self.model, self.version, SHADOW)
                case _:
                    raise AttributeError(f"a Target has no {name}")
            setattr(self, name, found)
            return found

    def head(self, forwarded: bytes, left_ms: int) -> bytes:
        """The head of a request to a worker; `forwarded`: the client's headers in it; `left_ms`: of the
        deadline."""
        return b"%b%bturnout-timeout-ms: %d\r\n" % (self.upstream_head, forwarded, left_ms)

    def reply_head(self, reason: str) -> bytes:
        """Of a usual answer: status line, who answered and why, up to the prediction id.

        It is remembered, but for pins of a version that ends: these are counted where they miss it.
        """
        head = self.reply_heads.get(reason)
        if head is None:
            head = PLAIN_JSON + self.said(reason) + b"turnout-prediction-id: "
            if not (reason == "pin" and self.announcement):
                self.reply_heads[reason] = head
        return head

    def said(self, reason: str) -> bytes:
        """Reply headers that say who answered and why."""
        return (
            f"turnout-version: {self.version}\r\nturnout-revision: {self.revision}\r\n"
            f"turnout-reason: {reason}\r\n{self.announcement}"
        ).encode()


class Entry:
    """One model's route, ready to serve."""

    __slots__ = (
        "attempts", "budget", "compiled", "earn", "fallback", "hedge_s", "is_routed", "keeps_bodies", "model",
        "notes", "paths", "reason_codes", "record_share", "recorder", "remembered", "retired", "shadows",
        "source", "targets", "timeout_s", "tolerance", "unit_header",
    )  # fmt: skip

    def __init__(
        self,
        compiled: CompiledRoute,
        *,
        is_routed: bool,
        source: Model,
        targets: dict[str, Target],
        retired: dict[str, str],
        budget: RetryBudget,
        recorder: ModelRecorder,
        notes: Notes | None,
    ) -> None:
        route = compiled.route
        self.model = route.model
        self.compiled = compiled
        self.is_routed = is_routed
        self.source = source  # what it was bound from
        self.paths: list[bytes] = []  # under which `Table.by_path` holds it
        self.targets = targets
        self.retired = retired  # version -> why it does not answer
        self.fallback = targets.get(route.fallback) if route.fallback else None
        self.hedge_s = None if route.hedge is None else route.hedge.after_ms / 1000
        self.shadows: tuple[tuple[CompiledShadow, Target], ...] = tuple(
            (shadow, targets[shadow.version]) for shadow in compiled.shadows
        )
        self.attempts = route.retry.attempts
        self.earn = route.retry.budget_percent / 100
        self.budget = budget
        self.timeout_s = route.timeout_s
        self.tolerance = route.record.tolerance
        self.reason_codes = reason_codes([rule.reason for rule in compiled.rules])
        self.unit_header = compiled.unit_header
        self.remembered = compiled.split.remembered
        self.record_share = route.record.percent / 100
        self.recorder = recorder
        recorder.ttl_s = route.record.ttl_s
        recorder.bucket_size = bucket_size(len(self.shadows) + bool(route.record.slices) + route.record.units)
        recorder.features = route.record.features
        self.keeps_bodies = route.record.bodies
        self.notes = notes  # None: the route wants nothing but records

    def refusal(self, version: str) -> tuple[str, str]:
        """Code and sentence for a version that does not answer here."""
        if version in self.retired:
            return "retired", self.retired[version]
        known = ", ".join(sorted(self.targets))
        return "unknown_version", f"{self.model} has no version {version}; it has: {known}."


Found = tuple[Entry, str | None]  # the entry and the version that the path pins
_PATH = re.compile(rb"/v2/models/([^/?#]+)(?:/versions/([^/?#]+))?/infer")


class Table:
    """`by_path` maps request paths, as they stand in a request line, to what serves them.

    A path gets into it with the first request for it, and out of it when a document of its model changes. So
    a model that nobody asks for costs nothing here, and a commit as much as the models that it touches.
    """

    def __init__(self, pools: PoolSet, recorder: Recorder, tallies: Tallies) -> None:
        self.pools = pools
        self.recorder = recorder
        self.tallies = tallies
        self.snapshot = EMPTY
        self.by_path: dict[bytes, Found] = {}
        self.entries: dict[str, Entry] = {}  # of models that were asked for, as they were bound last

    def switch(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from the next request on."""
        last, self.snapshot = self.snapshot, snapshot
        for model in snapshot.models.differing(last.models):
            entry = self.entries.get(model)
            if entry is None:
                continue
            for path in entry.paths:
                del self.by_path[path]
            entry.paths.clear()
            if model not in snapshot.models:
                del self.entries[model]

    def find(self, path: bytes) -> Found | None:
        """What serves a path that is not in `by_path` yet; None = nothing does."""
        parts = _PATH.fullmatch(path)
        if parts is None:
            return None
        entry = self.entry(parts[1].decode("latin-1"))
        if entry is None:
            return None
        pinned = None if parts[2] is None else parts[2].decode("latin-1")
        if not entry.is_routed if pinned is None else pinned not in entry.targets:
            return None
        self.by_path[path] = found = (entry, pinned)
        entry.paths.append(path)
        return found

    def entry(self, name: str) -> Entry | None:
        """The model, bound as the snapshot has it; None = there is no such model."""
        model = self.snapshot.models.get(name)
        if model is None or not (model.versions or model.route):
            return None
        entry = self.entries.get(name)
        if entry is None or entry.source is not model:
            entry = self.entries[name] = self._bind(name, model)
        return entry

    def _bind(self, name: str, model: Model) -> Entry:
        registered = model.registered
        compiled = model.compiled
        is_routed = compiled is not None
        if compiled is None:
            # A model without a route can be asked by version: this route is never used to choose one.
            only = Weight(version=next(iter(registered)), weight=100)
            compiled = compile_route(Route(model=name, split=(only,)), revision=self.snapshot.revision)
        wanted = compiled.route.record.output
        ending = model.ending
        routed = compiled.route.versions() if is_routed else set()
        retired = {
            version: farewell(standing)
            for version, standing in ending.items()
            if standing.state is State.RETIRED and version not in routed
        }
        targets = {
            version: Target(
                self,
                name,
                version,
                revision=compiled.revision,
                output=output_named(registered[version].signature if version in registered else None, wanted),
                concurrency=compiled.route.concurrency,
                timeout_s=compiled.route.timeout_s,
                announcement=announcement(ending.get(version)),
            )
            for version in (registered.keys() | compiled.route.versions()) - retired.keys()
        }
        last = self.entries.get(name)
        recorder = self.recorder.of(name)
        counting = None
        if (asked := compiled.route.counting) is not None and asked.version in targets:
            counting = Counting(asked.version, recorder.units_of(asked.rollout_id, asked.version))
        return Entry(
            compiled,
            is_routed=is_routed,
            source=model,
            targets=targets,
            retired=retired,
            budget=RetryBudget() if last is None else last.budget,
            recorder=recorder,
            notes=notes_for(compiled, recorder, tallies=self.tallies, counting=counting),
        )
