"""One prediction's way: decide, wait for a place, send, retry within the version, answer, record, shadow.

Everything happens in callbacks of the loop, without a task. An exchange ends exactly once: answered, refused,
or given up because its client went away. From `_enter` to its end it holds one place at its version, or waits
for one.

One class, since every step of the way changes the one state of an exchange, and a call more is a part of what
a request costs. What needs no such state is apart: `lane`, `lines`, `notes`.

Must not know: Redis, how bytes are parsed. Created by `protocol` for every inference request.
"""

from bisect import bisect_left
from random import random
from time import perf_counter, time

from gateway.contract import headers as h
from gateway.contract.errors import is_versions_fault
from gateway.contract.latency import BOUNDS_US
from gateway.contract.reply import PLAIN_JSON
from gateway.core.decide import decide
from gateway.core.split import REMEMBERED_BYTES
from gateway.dataplane.lane import Lane
from gateway.dataplane.lines import (
    NOTABLE,
    THOUSANDTHS,
    forwarded_lines,
    reply_head,
    returned_lines,
    wrong_wish,
)
from gateway.dataplane.outputs import output_of
from gateway.dataplane.recorder import NOTHING
from gateway.dataplane.table import JSON_LINE, Entry, Target
from gateway.upstream.admission import Admission
from gateway.upstream.outcome import Attempt, Failure
from gateway.upstream.worker import Worker
from gateway.wire.protocol import SMALL_BYTES, HttpProtocol
from gateway.wire.replies import STATUS_LINE, error_body, error_head
from gateway.wire.room import Room

_AGAIN = frozenset({b"overloaded", b"draining", b"not_ready"})  # refusals that another worker may not share
OWN_ID = h.PREDICTION_ID


class Exchange:
    __slots__ = (
        "attempts", "body", "client", "connection", "deadline", "entry", "forwarded", "has_place", "headers",
        "is_over", "lane", "reason", "sent", "started", "target", "tried", "wait_until", "worker",
    )  # fmt: skip

    def __init__(self, lane: Lane, client: HttpProtocol) -> None:
        self.lane = lane
        self.client = client
        self.connection: Attempt | None = None
        self.is_over = True
        self.has_place = False
        self.entry: Entry
        self.headers: dict[bytes, bytes]
        self.body: bytes
        self.started: float
        self.attempts: int
        self.tried: tuple[Worker, ...]
        self.target: Target
        self.worker: Worker
        self.reason: str
        self.deadline: float
        self.wait_until: float
        self.sent: float
        self.forwarded: bytes

    # -- the decision -----------------------------------------------------------------------------------

    def begin(self, entry: Entry, headers: dict[bytes, bytes], body: bytes, pinned: str | None) -> None:
        """Decide and send, or refuse."""
        self.entry = entry
        self.headers = headers
        self.body = body
        self.started = now = perf_counter()
        self.is_over = False
        self.attempts = 0
        self.tried = ()
        if pinned is None:
            unit_header = entry.unit_header
            unit = None if unit_header is None else headers.get(unit_header)
            if unit and len(unit) <= REMEMBERED_BYTES and h.VERSION not in headers:
                version, self.reason = entry.remembered(unit), "sticky"
            else:
                version, self.reason = decide(entry.compiled, headers, random())
        else:
            version, self.reason = pinned, "pin"
        target = entry.targets.get(version)
        if target is None:
            self._reject(*entry.refusal(version))
            return
        timeout_s = entry.timeout_s
        if NOTABLE.isdisjoint(headers):
            kind = headers.get(b"content-type")
            if kind == b"application/json":
                self.forwarded = JSON_LINE
            else:
                self.forwarded = b"" if kind is None else b"content-type: %b\r\n" % kind
        else:
            if (problem := wrong_wish(headers)) is not None:
                self._reject(*problem)
                return
            if h.TIMEOUT_MS in headers:
                timeout_s = min(timeout_s, int(headers[h.TIMEOUT_MS]) / 1000)
            self.forwarded = forwarded_lines(headers)
        if not target.pool.ready and entry.fallback is not None and self.reason != "pin":
            target = entry.fallback
            self.reason = "fallback"
            self.lane.tallies.fallbacks[entry.model] += 1
        self.deadline = now + timeout_s
        self.lane.in_flight[self] = None
        entry.budget.asked += 1
        pool = target.pool
        admission = pool.admission
        if admission.active < admission.limit:  # `_enter`, without its call
            self.target = target
            target.tally.asked += 1
            admission.active += 1
            self.has_place = True
            self._send(pool.pick(), now)
        else:
            self._enter(target, now)

    def _enter(self, target: Target, now: float) -> None:
        """Take a place at this version, or wait for one."""
        self.target = target
        target.tally.asked += 1
        admission = target.pool.admission
        if admission.active < admission.limit:
            admission.active += 1
            self.has_place = True
            self._send(target.pool.pick(), now)
        else:
            self._wait(admission, now)

    def _wait(self, admission: Admission, now: float) -> None:
        """All places at the version are taken."""
        concurrency = self.entry.compiled.route.concurrency
        self.wait_until = now + min(concurrency.queue_ms / 1000, (self.deadline - now) / 2)
        if admission.wait(self, most=concurrency.queue, now=now):
            self.lane.queues.add(admission)
        else:
            self.waited_too_long()

    def waited_too_long(self) -> None:
        self._fail(
            "overloaded",
            f"{self.entry.model} version {self.target.version} has more requests than it can answer in time.",
            retry_after_s=1,
        )

    def admitted(self) -> None:
        """A place came free for one who waited."""
        self.has_place = True
        now = perf_counter()
        if now < self.deadline:
            self._send(self.target.pool.pick(), now)
        else:
            self.expired()

    def _send(self, worker: Worker | None, now: float) -> None:
        if worker is None:
            self._fail(
                "no_workers",
                f"{self.entry.model} version {self.target.version} has no ready worker.",
                retry_after_s=1,
            )
            return
        self.attempts += 1
        self.worker = worker
        self.sent = now
        forwarded = self.forwarded
        if now == self.started and forwarded is JSON_LINE:
            head = self.target.usual_head
        else:
            head = self.target.head(forwarded, max(1, int((self.deadline - now) * 1000 + 0.5)))
        worker.send(self, head, self.body)

    @property
    def room(self) -> Room:
        return self.lane.room

    # -- the outcome of an attempt ----------------------------------------------------------------------

    def on_reply(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.worker.failures = 0
        if status == 200:
            told = headers.get(h.WORKER_TIME, b"")
            output = output_of(headers, body, self.target.output, is_foreign=not self.worker.digest12)
            worker_us = int(told) if told.isdigit() and len(told) <= 10 else 0
            self.on_plain(worker_us, output, body, STATUS_LINE[200] + returned_lines(headers))
        elif status == 503 and headers.get(h.ERROR) in _AGAIN and self._retry():
            return
        else:
            self._relay_error(status, headers, body)

    def on_failure(self, failure: Failure) -> None:
        if failure is Failure.STALE:
            # The worker closed an idle connection just as the request left: nothing was done yet.
            self.attempts -= 1
            pool = self.target.pool
            self._send(self.worker if self.worker in pool.ready else pool.pick(), perf_counter())
            return
        self._tell_failed(self.worker, failure)
        if failure is Failure.BUSY:
            if not self._retry():
                self._fail("overloaded", "Every connection to the workers is in use.", retry_after_s=1)
            return
        if failure is Failure.NO_ROOM:
            self._fail("overloaded", "Too many large replies are on their way: try again.", retry_after_s=1)
            return
        self.worker.failed(failure)
        if not (self._retry() or (failure is Failure.REFUSED and self._fall_back())):
            self._fail("bad_upstream", f"The worker failed ({failure.value}).")

    def _tell_failed(self, worker: Worker, failure: Failure) -> None:
        """Log the attempt, under the id that the prediction will have if another one succeeds."""
        if OWN_ID not in self.headers:
            self.headers[OWN_ID] = self.entry.recorder.new_place(time())[0]
        about = {"worker": worker.worker_id, "attempt": self.attempts, "error": failure.value}
        self.lane.incidents.say("an attempt at", self.target, self.headers, about)

    def _other_worker(self) -> Worker | None:
        """Another worker of the same version for one more attempt, if the route, the budget and the time
        allow it; the retry is counted."""
        if self.attempts >= self.entry.attempts or perf_counter() >= self.deadline:
            return None
        self.tried = (*self.tried, self.worker)
        other = self.target.pool.pick_other(self.tried)
        if other is None or not self.entry.budget.spend(self.entry.earn):
            return None
        self.lane.tallies.retries[self.entry.model, self.target.version] += 1
        return other

    def _retry(self) -> bool:
        other = self._other_worker()
        if other is None:
            return False
        self._send(other, perf_counter())
        return True

    def _fall_back(self) -> bool:
        """The version's workers are gone, although their leases have not ended yet: ask the fallback."""
        fallback = self.entry.fallback
        if fallback is None or fallback is self.target or self.reason == "pin":
            return False
        self._count_error("no_workers")
        self.target.pool.admission.leave()
        self.has_place = False
        self.reason = "fallback"
        self.lane.tallies.fallbacks[self.entry.model] += 1
        self._enter(fallback, perf_counter())
        return True

    def expired(self) -> None:
        """The deadline has passed, at a worker or in the queue."""
        connection, was_sent = self.connection, self.attempts > 0
        self._end()
        if connection is not None:
            connection.abandon()
        if was_sent:
            self.worker.failed()
        self._count_error("deadline")
        self._reply_error("deadline", "The answer did not come in time.")

    def gone(self) -> None:
        """The client went away: free the worker."""
        if self.is_over:
            return
        connection = self.connection
        self._end()
        if connection is not None:
            connection.abandon()
        self._count_error("client_gone")
        self.lane.tallies.client_gone += 1

    def _end(self) -> None:
        self.is_over = True
        self.lane.in_flight.pop(self, None)
        if self.has_place:
            self.has_place = False
            self.target.pool.admission.leave()

    # -- the reply --------------------------------------------------------------------------------------

    def on_plain(self, worker_us: int, output: bytes | None, body: bytes, first: bytes = PLAIN_JSON) -> None:
        """Answer, then count and record; `first`: status line and what a worker said for clients."""
        self.is_over = True
        entry, target, worker = self.entry, self.target, self.worker
        del self.lane.in_flight[self]
        recorder = entry.recorder
        at_s = time()
        own = self.headers.get(OWN_ID)
        if own is not None:
            prediction_id, bucket, field = recorder.own_place(own)
        elif at_s > recorder.closes_at or not recorder.places:
            prediction_id, bucket, field = recorder.new_place(at_s)
        else:
            prediction_id, bucket, field = recorder.places.pop()
        now = perf_counter()
        latency_us = int((now - self.started) * 1e6)
        gateway_us = latency_us - worker_us
        head = target.reply_heads.get(self.reason) or self._new_head()
        size = len(body)
        if size < SMALL_BYTES and first is PLAIN_JSON:
            self.client.reply_whole(
                b"%b%b\r\nserver-timing: gateway;dur=%d.%b, worker;dur=%d.%b\r\ncontent-length: %d\r\n\r\n%b"
                % (
                    head,
                    prediction_id,
                    gateway_us // 1000,
                    THOUSANDTHS[gateway_us % 1000],
                    worker_us // 1000,
                    THOUSANDTHS[worker_us % 1000],
                    size,
                    body,
                ),
                size,
            )
        else:
            self.client.reply(reply_head(first, head, prediction_id, gateway_us, worker_us), body)
        worker.failures = 0
        worker.answers += 1
        worker.answers_us += (now - self.sent) * 1e6
        worker.told_us += worker_us
        tally = target.tally
        tally.answered += 1
        tally.latency_us += latency_us
        tally.latency[bisect_left(BOUNDS_US, latency_us)] += 1
        self.has_place = False
        admission = target.pool.admission
        admission.active -= 1
        if admission.waiting:
            admission.admit()
        notes = entry.notes
        if notes is not None:
            notes.answered(self.headers, target.version)
        if entry.record_share >= 1 or random() < entry.record_share:
            if output is None:
                kind, said = NOTHING
            else:
                kind, said = target.kind_code, output
                tally.recorded += 1
            tail = worker.tail if self.attempts == 1 else b"%b/%d" % (worker.tail, self.attempts)
            recorder.add(
                bucket,
                field,
                b'%b%d,%d,"%b%b/%b",%b]'
                % (
                    target.record_head,
                    int(at_s),
                    latency_us,
                    kind,
                    entry.reason_codes[self.reason],
                    tail,
                    said,
                ),
            )
            if notes is not None:
                notes.recorded(self.headers, target.version, self.body, bucket=bucket, field=field)
            if entry.shadows:
                self.lane.shadower.copy(
                    entry, self.headers, self.forwarded, self.body, target, bucket, field, output
                )
        self._spare()

    def _new_head(self) -> bytes:
        """Of a reply whose head is not ready: the first of its kind, and every pin of a version that ends."""
        target = self.target
        if self.reason == "pin" and target.announcement:
            address = self.client.transport.get_extra_info("peername")
            self.lane.pins.note(
                target.model, target.version, self.headers, str(address[0]) if address else "unknown"
            )
        return target.reply_head(self.reason)

    def _spare(self) -> None:
        """Nobody holds this exchange any more: its connection may use it again."""
        self.body = b""
        self.client.spare = self

    def _count_error(self, code: str) -> None:
        target = self.target
        target.tally.errors[code] += 1
        if is_versions_fault(code):
            about = {"attempt": self.attempts, "error": code}
            self.lane.incidents.say("a prediction of", target, self.headers, about)
        if self.entry.notes is not None:
            self.entry.notes.failed(self.headers, target.version, code)

    def _relay_error(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        """A worker's own error is passed on: the caller's fault as it is, a bug of the worker as 502."""
        self._end()
        if status < 400 or status == 500:
            status = 502
        code = headers.get(h.ERROR, b"bad_upstream" if status >= 500 else b"bad_request")
        self._count_error(code.decode("latin-1")[:32])
        head = STATUS_LINE.get(status, STATUS_LINE[502]) + returned_lines(headers)
        if h.ERROR not in headers:
            head += b"turnout-error: " + code + b"\r\n"
        self.client.reply(head + self.target.said(self.reason), body)

    def _fail(self, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        self._end()
        self._count_error(code)
        self._reply_error(code, message, retry_after_s=retry_after_s)

    def _reply_error(self, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        head = error_head(code, retry_after_s=retry_after_s) + self.target.said(self.reason)
        self.client.reply(head, error_body(message))

    def _reject(self, code: str, message: str) -> None:
        """Refuse before any version was chosen."""
        self.is_over = True
        self.lane.tallies.rejected[code] += 1
        self.client.reply_error(code, message)
