"""Copies of requests for shadows: bounded, late, and never in the way of a primary.

A copy is made after the primary's reply was handed to the client. Per (model, version) a bounded number is on
the wire and a bounded number waits; what does not fit, or has waited longer than the route's timeout, is
dropped and counted. A shadow's answer is recorded under the primary's prediction id and compared with the
primary's output. It is never retried and never returned.

Must not know: clients. Called by `exchange`.
"""

from collections import deque
from random import random
from time import perf_counter, time

from gateway.contract import headers as h
from gateway.contract.latency import bucket_of
from gateway.contract.record import shadow_field
from gateway.core.decide import CompiledShadow
from gateway.dataplane.outputs import agreement, output_of
from gateway.dataplane.recorder import NOTHING
from gateway.dataplane.settings import GatewaySettings
from gateway.dataplane.table import Entry, Target
from gateway.dataplane.tally import Tallies
from gateway.upstream.outcome import Attempt, Failure
from gateway.upstream.worker import Worker
from gateway.wire.room import Room


class ShadowLine:
    """The copies for one version."""

    __slots__ = ("on_wire", "waiting")

    def __init__(self) -> None:
        self.on_wire = 0
        self.waiting: deque[Copy] = deque()


class Shadower:
    def __init__(self, tallies: Tallies, settings: GatewaySettings, room: Room) -> None:
        self.room = room  # for large replies
        self.tallies = tallies
        self.most_on_wire = settings.shadow_in_flight
        self.most_waiting = settings.shadow_queue
        self.most_bytes = settings.shadow_bytes
        self.held_bytes = 0
        self.is_shedding = False  # the process is short of time: copies may not wait
        self.lines: dict[tuple[str, str], ShadowLine] = {}
        self.on_wire: dict[Copy, None] = {}

    @property
    def waiting(self) -> int:
        return sum(len(line.waiting) for line in self.lines.values())

    @property
    def fill_ratio(self) -> float:
        """How near the fullest shadow's line is to its bound, beyond which copies are dropped."""
        fullest = max((len(line.waiting) for line in self.lines.values()), default=0)
        return fullest / max(1, self.most_waiting)

    def copy(
        self,
        entry: Entry,
        headers: dict[bytes, bytes],
        forwarded: bytes,
        body: bytes,
        primary: Target,
        bucket: str,
        field: bytes,
        output: bytes | None,
    ) -> None:
        """Copy one answered request to every shadow of its route that wants it."""
        for shadow, target in entry.shadows:
            if target.version == primary.version:
                continue  # the version has answered already
            if shadow.share < 1 and random() >= shadow.share:
                continue
            if shadow.holds is not None and not shadow.holds(headers):
                continue
            copy = Copy(self, entry, shadow, target, forwarded, body, primary.version, bucket, field, output)
            target.shadow_tally.asked += 1
            self._submit(copy)

    def _submit(self, copy: "Copy") -> None:
        line = copy.line
        if line.on_wire < self.most_on_wire and copy.has_room():
            self._start(copy)
        elif self.is_shedding:
            self.drop(copy, "shed")
        elif len(line.waiting) >= self.most_waiting:
            self.drop(copy, "queue_full")
        elif self.held_bytes + len(copy.body) > self.most_bytes:
            self.drop(copy, "bytes")
        else:
            self.held_bytes += len(copy.body)
            line.waiting.append(copy)

    def _start(self, copy: "Copy") -> None:
        copy.line.on_wire += 1
        copy.target.pool.admission.active += 1
        self.on_wire[copy] = None
        copy.start()

    def done(self, copy: "Copy") -> None:
        """A copy's place on the wire is free."""
        line = copy.line
        line.on_wire -= 1
        self.on_wire.pop(copy, None)
        copy.target.pool.admission.leave()
        if line.waiting:
            self._pump(line)

    def _pump(self, line: ShadowLine) -> None:
        """Send what waits, as far as there is room, and drop what has waited too long."""
        now = perf_counter()
        while line.waiting and line.on_wire < self.most_on_wire:
            following = line.waiting[0]
            is_late = following.deadline <= now
            if not (is_late or following.has_room()):
                return
            line.waiting.popleft()
            self.held_bytes -= len(following.body)
            if is_late:
                self.drop(following, "late")
            else:
                self._start(following)

    def drop(self, copy: "Copy", why: str) -> None:
        copy.is_over = True
        self.tallies.shadow_dropped[copy.entry.model, copy.target.version, why] += 1
        copy.target.shadow_tally.errors["dropped"] += 1

    def expire(self, now: float) -> None:
        for copy in [copy for copy in self.on_wire if copy.deadline <= now]:
            copy.expired()
        for line in self.lines.values():
            if line.waiting:
                self._pump(line)


class Copy:
    """One request on its way to one shadow."""

    __slots__ = (
        "body", "bucket", "connection", "deadline", "entry", "field", "forwarded", "is_over", "line",
        "output", "primary", "shadow", "shadower", "started", "target", "worker",
    )  # fmt: skip

    def __init__(
        self,
        shadower: Shadower,
        entry: Entry,
        shadow: CompiledShadow,
        target: Target,
        forwarded: bytes,
        body: bytes,
        primary: str,
        bucket: str,
        field: bytes,
        output: bytes | None,
    ) -> None:
        self.shadower = shadower
        self.entry = entry
        self.shadow = shadow
        self.target = target
        self.forwarded = forwarded
        self.body = body
        self.primary = primary
        self.bucket = bucket
        self.field = field
        self.output = output
        self.connection: Attempt | None = None
        self.worker: Worker | None = None
        self.is_over = False
        self.started = perf_counter()
        self.deadline = self.started + entry.timeout_s
        key = (entry.model, target.version)
        line = shadower.lines.get(key)
        if line is None:
            line = shadower.lines[key] = ShadowLine()
        self.line = line

    def has_room(self) -> bool:
        """Copies go where nobody waits and at most half of the places are taken: they are shed first."""
        admission = self.target.pool.admission
        return admission.active * 2 < admission.limit

    @property
    def room(self) -> Room:
        return self.shadower.room

    def start(self) -> None:
        worker = self.target.pool.pick()
        if worker is None:
            self._failed("no_workers")
            return
        self.worker = worker
        self.started = perf_counter()
        left_ms = (self.deadline - self.started) * 1000
        worker.send(self, self.target.head(self.forwarded, max(1, round(left_ms))), self.body)

    def on_plain(self, worker_us: int, output: bytes | None, body: bytes) -> None:
        self._answered(output)

    def on_reply(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        assert self.worker is not None
        if status == 200:
            is_foreign = not self.worker.digest12
            self._answered(output_of(headers, body, self.target.output, is_foreign=is_foreign))
        else:
            self.worker.failures = 0
            code = headers.get(h.ERROR, b"bad_upstream" if status >= 500 else b"bad_request")
            self._failed(code.decode("latin-1")[:32])

    def _answered(self, output: bytes | None) -> None:
        assert self.worker is not None
        self.worker.failures = 0
        self.is_over = True
        target = self.target
        latency_us = (perf_counter() - self.started) * 1e6
        tally = target.shadow_tally
        tally.answered += 1
        tally.latency_us += latency_us
        tally.latency[bucket_of(latency_us)] += 1
        tally.recorded += output is not None
        kind, said = NOTHING if output is None else (target.kind_code, output)
        field = shadow_field(self.field, self.shadow.slot)
        record = b'%b%d,%d,"%b",%b]' % (target.record_head, time(), latency_us, kind, said)
        self.entry.recorder.add(self.bucket, field, record)
        if output is not None and self.output is not None:
            self._compare(self.output, output)
        self.shadower.done(self)

    def _compare(self, primary_output: bytes, output: bytes) -> None:
        seen = agreement(primary_output, output, self.target.kind, tolerance=self.entry.tolerance)
        if seen is not None:
            tally = self.shadower.tallies.agreement(self.entry.model, self.primary, self.target.version)
            rows, agree, difference, difference2 = seen
            tally.rows += rows
            tally.agree += agree
            tally.difference += difference
            tally.difference2 += difference2
            if agree < rows:
                self.entry.recorder.held().differed(
                    (self.primary, self.target.version),
                    place=(self.bucket, self.field),
                    at_s=time(),
                    outputs=(primary_output, output),
                    kind=self.target.kind,
                    body=self.body if self.entry.keeps_bodies else None,
                )

    def on_failure(self, failure: Failure) -> None:
        if failure is Failure.STALE:
            assert self.worker is not None
            self.shadower.on_wire[self] = None
            self.start()
            return
        is_ours = failure in (Failure.BUSY, Failure.NO_ROOM)
        if not is_ours:
            assert self.worker is not None
            self.worker.failed(failure)
        self._failed("overloaded" if is_ours else "bad_upstream")

    def expired(self) -> None:
        if self.connection is not None:
            self.connection.abandon()
        if self.worker is not None:
            self.worker.failed()
        self._failed("deadline")

    def _failed(self, code: str) -> None:
        self.is_over = True
        self.target.shadow_tally.errors[code] += 1
        self.shadower.done(self)
