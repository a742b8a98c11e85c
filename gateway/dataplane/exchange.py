"""One prediction's way: decide, send, retry within the version, answer, record, hand to shadows.

Everything happens in callbacks of the loop, without a task. An exchange ends exactly once: answered, refused,
or given up because its client went away.

Must not know: Redis, how bytes are parsed. Created by `gateway` for every inference request.
"""

import time
from bisect import bisect_left
from random import random

from gateway.contract import headers as h
from gateway.contract.latency import BOUNDS_US
from gateway.contract.names import is_prediction_id
from gateway.contract.reply import PLAIN_JSON
from gateway.core.decide import decide
from gateway.dataplane.outputs import output_of
from gateway.dataplane.recorder import NOTHING
from gateway.dataplane.shadower import Shadower
from gateway.dataplane.table import Entry, Target
from gateway.dataplane.tally import Tallies
from gateway.upstream.connection import Connection, Failure
from gateway.upstream.worker import Worker
from gateway.wire.protocol import HttpProtocol
from gateway.wire.replies import STATUS_LINE, error_body, error_head
from gateway.wire.room import Room

_AGAIN = frozenset(
    {b"overloaded", b"draining", b"not_ready"}
)  # a worker's refusals that another may not share
_REPLY_HEADERS = (b"content-type", h.JSON_LENGTH, b"retry-after", h.ERROR)


class Lane:
    """What the exchanges of one process share."""

    __slots__ = ("in_flight", "room", "shadower", "tallies")

    def __init__(self, tallies: Tallies, shadower: Shadower, room: Room) -> None:
        self.room = room  # for large replies
        self.tallies = tallies
        self.shadower = shadower
        self.in_flight: dict[Exchange, None] = {}

    def expire(self, now: float) -> None:
        """Answer 504 to whatever is past its deadline; `now` by `time.perf_counter`."""
        for exchange in [exchange for exchange in self.in_flight if exchange.deadline <= now]:
            exchange.expired()


class Exchange:
    __slots__ = (
        "attempts", "body", "client", "connection", "deadline", "entry", "forwarded", "headers", "is_over",
        "lane", "reason", "started", "target", "tried", "worker",
    )  # fmt: skip

    def __init__(
        self, lane: Lane, client: HttpProtocol, entry: Entry, headers: dict[bytes, bytes], body: bytes
    ) -> None:
        self.lane = lane
        self.client = client
        self.entry = entry
        self.headers = headers
        self.body = body
        self.started = time.perf_counter()
        self.connection: Connection | None = None
        self.is_over = False
        self.attempts = 0
        self.tried: tuple[Worker, ...] = ()
        self.target: Target
        self.worker: Worker
        self.reason: str
        self.deadline: float
        self.forwarded: bytes

    # -- the decision -----------------------------------------------------------------------------------

    def begin(self, pinned: str | None) -> None:
        """Decide and send, or refuse."""
        entry = self.entry
        headers = self.headers
        if pinned is None:
            version, self.reason = decide(entry.compiled, headers, random())
        else:
            version, self.reason = pinned, "pin"
        target = entry.targets.get(version)
        if target is None:
            known = ", ".join(sorted(entry.targets))
            self._reject("unknown_version", f"{entry.model} has no version {version}; it has: {known}.")
            return
        timeout_s = entry.timeout_s
        if h.TIMEOUT_MS in headers:
            asked = headers[h.TIMEOUT_MS]
            if not asked.isdigit() or not 0 < int(asked) < 10**7:
                self._reject(
                    "bad_request", "turnout-timeout-ms must be a whole number of milliseconds above 0."
                )
                return
            timeout_s = min(timeout_s, int(asked) / 1000)
        if h.PREDICTION_ID in headers and not is_prediction_id(headers[h.PREDICTION_ID].decode("latin-1")):
            self._reject(
                "bad_request",
                "turnout-prediction-id must be 1 to 64 letters, digits and ._:- and not begin with ._:-",
            )
            return
        if b"content-encoding" in headers:
            self._reject("unsupported_media_type", "Bodies must not be compressed: send them as they are.")
            return
        if not target.pool.ready and entry.fallback is not None and self.reason != "pin":
            target = entry.fallback
            self.reason = "fallback"
            self.lane.tallies.fallbacks[entry.model] += 1
        self.target = target
        self.deadline = self.started + timeout_s
        self.lane.in_flight[self] = None
        target.tally.asked += 1
        entry.budget.earn(entry.earn)
        self.forwarded = _forwarded(headers)
        self._send(target.pool.pick(random()))

    def _send(self, worker: Worker | None) -> None:
        if worker is None:
            self._fail(
                "no_workers",
                f"{self.entry.model} version {self.target.version} has no ready worker.",
                retry_after_s=1,
            )
            return
        self.attempts += 1
        self.worker = worker
        body = self.body
        now = self.started if self.attempts == 1 else time.perf_counter()
        left_ms = (self.deadline - now) * 1000
        worker.send(
            self,
            b"%b%bturnout-timeout-ms: %d\r\ncontent-length: %d\r\n"
            % (self.target.upstream_head, self.forwarded, max(1, round(left_ms)), len(body)),
            body,
        )

    @property
    def room(self) -> Room:
        return self.lane.room

    # -- the outcome of an attempt ----------------------------------------------------------------------

    def on_plain(self, worker_us: int, output: bytes | None, body: bytes) -> None:
        self.worker.failures = 0
        self._answer(PLAIN_JSON, worker_us, output, body)

    def on_reply(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.worker.failures = 0
        if status == 200:
            told = headers.get(h.WORKER_TIME, b"")
            output = output_of(headers, body, self.target.output, is_foreign=not self.worker.digest12)
            self._answer(
                STATUS_LINE[200] + _passed(headers), int(told) if told.isdigit() else 0, output, body
            )
        elif status == 503 and headers.get(h.ERROR) in _AGAIN and self._retry():
            return
        else:
            self._relay_error(status, headers, body)

    def on_failure(self, failure: Failure) -> None:
        if failure is Failure.STALE:
            # The worker closed an idle connection just as the request left: nothing was done yet.
            self.attempts -= 1
            pool = self.target.pool
            self._send(self.worker if self.worker in pool.ready else pool.pick(random()))
            return
        if failure is Failure.BUSY:
            if not self._retry():
                self._fail("overloaded", "Every connection to the workers is in use.", retry_after_s=1)
            return
        if failure is Failure.NO_ROOM:
            self._fail("overloaded", "Too many large replies are on their way: try again.", retry_after_s=1)
            return
        self.worker.failed()
        if not self._retry():
            self._fail("bad_upstream", f"The worker failed ({failure.value}).")

    def _retry(self) -> bool:
        """Send to another worker of the same version, if the route, the budget and the time allow it."""
        if self.attempts >= self.entry.attempts or time.perf_counter() >= self.deadline:
            return False
        self.tried = (*self.tried, self.worker)
        other = self.target.pool.pick(random(), tried=self.tried)
        if other is None or not self.entry.budget.spend():
            return False
        self.lane.tallies.retries[self.entry.model, self.target.version] += 1
        self._send(other)
        return True

    def expired(self) -> None:
        """The deadline has passed."""
        worker, connection = self.worker, self.connection
        self._end()
        if connection is not None:
            connection.abandon()
        worker.failed()
        self.target.tally.errors["deadline"] += 1
        self._reply_error("deadline", "The answer did not come in time.")

    def gone(self) -> None:
        """The client went away: free the worker."""
        if self.is_over:
            return
        connection = self.connection
        self._end()
        if connection is not None:
            connection.abandon()
        self.target.tally.errors["client_gone"] += 1
        self.lane.tallies.client_gone += 1

    def _end(self) -> None:
        self.is_over = True
        self.lane.in_flight.pop(self, None)

    # -- the reply --------------------------------------------------------------------------------------

    def _answer(self, first: bytes, worker_us: int, output: bytes | None, body: bytes) -> None:
        self.is_over = True
        entry, target = self.entry, self.target
        del self.lane.in_flight[self]
        recorder = entry.recorder
        at_s = time.time()
        own = self.headers.get(h.PREDICTION_ID)
        prediction_id, bucket, field = recorder.new_place(at_s) if own is None else recorder.own_place(own)
        latency_us = (time.perf_counter() - self.started) * 1e6
        self.client.reply(
            b"%b%bturnout-prediction-id: %b\r\nserver-timing: gateway;dur=%.3f, worker;dur=%.3f\r\n"
            % (
                first,
                target.reply_head(self.reason),
                prediction_id,
                (latency_us - worker_us) / 1e3,
                worker_us / 1e3,
            ),
            body,
        )
        tally = target.tally
        tally.answered += 1
        tally.latency_us += latency_us
        tally.latency[bisect_left(BOUNDS_US, latency_us)] += 1
        if entry.record_share < 1 and random() >= entry.record_share:
            return
        if output is None:
            recorder.add(bucket, field, target.record_head, at_s, latency_us, NOTHING)
        else:
            tally.recorded += 1
            recorder.add(bucket, field, target.record_head, at_s, latency_us, target.kind_head + output)
        if entry.shadows:
            self.lane.shadower.copy(
                entry, self.headers, self.forwarded, self.body, target, bucket, field, output
            )

    def _relay_error(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        """A worker's own error is passed on: the caller's fault as it is, a bug of the worker as 502."""
        self._end()
        if status < 400 or status == 500:
            status = 502
        code = headers.get(h.ERROR, b"bad_upstream" if status >= 500 else b"bad_request")
        self.target.tally.errors[code.decode("latin-1")[:32]] += 1
        head = STATUS_LINE.get(status, STATUS_LINE[502]) + _passed(headers)
        if h.ERROR not in headers:
            head += b"turnout-error: " + code + b"\r\n"
        self.client.reply(head + self.target.reply_head(self.reason), body)

    def _fail(self, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        self._end()
        self.target.tally.errors[code] += 1
        self._reply_error(code, message, retry_after_s=retry_after_s)

    def _reply_error(self, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        head = error_head(code, retry_after_s=retry_after_s) + self.target.reply_head(self.reason)
        self.client.reply(head, error_body(message))

    def _reject(self, code: str, message: str) -> None:
        """Refuse before any version was chosen."""
        self.is_over = True
        self.lane.tallies.rejected[code] += 1
        self.client.reply_error(code, message)


def _forwarded(headers: dict[bytes, bytes]) -> bytes:
    """The client's headers that a worker gets."""
    lines = b""
    for name in h.PASSED_TO_WORKER:
        if name in headers:
            lines += b"%b: %b\r\n" % (name, headers[name])
    return lines


def _passed(headers: dict[bytes, bytes]) -> bytes:
    """A worker's reply headers that a client gets."""
    return b"".join(b"%b: %b\r\n" % (name, headers[name]) for name in _REPLY_HEADERS if name in headers)
