"""The queue in front of the model: when to run, where to run, and who is told.

A request that comes while the model is idle runs in the same turn of the event loop: without a timer, but
after the other sockets that were readable in that turn, so that requests which came together share a run.
While a run is on, later requests queue. A run expected to be short (`batching.Costs`) stays on the loop; a
long one goes to the one thread of this queue, where ONNX Runtime releases the GIL.

A caller that goes away is taken out of the queue, or its rows are computed and dropped; nobody else notices.
Must not know: HTTP, tensors' meaning. Driven by `workers.server`.
"""

import asyncio
import logging
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from gateway.contract.errors import TurnoutError
from workers.batching import Costs, Outcome, Pace, Run, execute, group_of, rows_of, wait_s
from workers.tally import Tally
from workers.tensors import Array
from workers.waiting import Waiting

log = logging.getLogger("turnout.worker")


class Caller(Protocol):
    """Who waits for an outcome; told once, unless `forget` came first."""

    def told(self, outcome: Outcome) -> None: ...


class Entry:
    """One waiting request. `expires_at` by `perf_counter`, 0 = never."""

    __slots__ = ("arrived", "caller", "expires_at", "group", "inputs", "is_waiting", "rows")

    def __init__(self, caller: Caller, inputs: list[Array], arrived: float, expires_at: float) -> None:
        self.caller: Caller | None = caller
        self.inputs = inputs
        self.arrived = arrived
        self.expires_at = expires_at
        self.rows = rows_of(inputs)
        self.group: Hashable = None
        self.is_waiting = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """`max_rows` of a batch; the rest as in `WorkerSettings`. `is_uniform`: inputs vary in rows alone."""

    max_rows: int
    max_delay_s: float
    max_queue_requests: int
    max_queue_rows: int
    inline_limit_us: float
    is_uniform: bool


class Batcher:
    def __init__(self, run: Run, costs: Costs, bounds: Bounds, tally: Tally) -> None:
        self._run = run
        self._costs = costs
        self._bounds = bounds
        self._tally = tally
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._waiting: Waiting[Entry] = Waiting()
        self._pace = Pace()
        self._longest_us = costs.of_queue(
            bounds.max_queue_requests, bounds.max_queue_rows, max_rows=bounds.max_rows
        )
        self._longest_s = self._longest_us / 1e6  # of a full queue, at the present pace
        self._is_busy = False  # a run is on in the thread
        self._busy_until = 0.0  # when it should end
        self._is_due = False  # `_flush` is scheduled
        self._timer: asyncio.TimerHandle | None = None
        self._last_caller: Caller | None = None
        self._last_arrival = 0.0
        self._others_gap_s = float("inf")

    def __len__(self) -> int:
        return self._waiting.count

    def submit(self, caller: Caller, inputs: list[Array], *, arrived: float, expires_at: float) -> Entry:
        """Queue a request, or raise TurnoutError("overloaded")."""
        bounds = self._bounds
        entry = Entry(caller, inputs, arrived, expires_at)
        waiting = self._waiting
        if waiting.count and (
            waiting.count >= bounds.max_queue_requests or waiting.rows + entry.rows > bounds.max_queue_rows
        ):
            raise TurnoutError(
                "overloaded", f"The queue is full ({waiting.count} requests, {waiting.rows} rows): try again."
            )
        if expires_at and (self._is_busy or (waiting.count and expires_at - arrived < self._longest_s)):
            self._check_time(expires_at - arrived, arrived)
        if not bounds.is_uniform:
            entry.group = group_of(inputs)
        if bounds.max_delay_s:
            self._note_gap(caller, arrived)
        waiting.add(entry)
        if not self._is_due and not self._is_busy:
            self._is_due = True
            self._loop.call_soon(self._flush)
        return entry

    def forget(self, entry: Entry) -> None:
        """The caller went away."""
        entry.caller = None
        if entry.is_waiting:
            entry.inputs = []
            self._waiting.remove(entry)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _check_time(self, left_s: float, now: float) -> None:
        """Raise TurnoutError("overloaded") for a request whose time would be over before its turn."""
        waiting = self._waiting
        queue_us = self._costs.of_queue(waiting.count, waiting.rows, max_rows=self._bounds.max_rows)
        queue_us *= self._pace.factor
        wait_s = queue_us / 1e6 + (max(0.0, self._busy_until - now) if self._is_busy else 0.0)
        if wait_s >= left_s:
            raise TurnoutError(
                "overloaded",
                f"Its turn would come in about {wait_s * 1e3:.1f} ms, and the request has "
                f"{left_s * 1e3:.1f} ms: try again.",
            )

    def _note_gap(self, caller: Caller, arrived: float) -> None:
        if caller is not self._last_caller:
            self._others_gap_s = arrived - self._last_arrival
        else:
            self._others_gap_s = float("inf")
        self._last_caller = caller
        self._last_arrival = arrived

    def _flush(self) -> None:
        """Run what waits, one batch after the other, for as long as the loop may be held; unless it waits."""
        self._is_due = False
        if not self._can_run():
            return
        started = now = perf_counter()
        if self._bounds.max_delay_s and self._waits(now):
            return
        until = started + self._bounds.inline_limit_us / 1e6
        while self._can_run() and now <= until:
            batch = self._timely(self._waiting.take(self._bounds.max_rows), now)
            if batch:
                self._start(batch, now)
            now = perf_counter()
        self._again()

    def _can_run(self) -> bool:
        return not self._is_busy and self._waiting.count > 0

    def _waits(self, now: float) -> bool:
        """Whether the batch waits for company; then a timer is set."""
        bounds = self._bounds
        delay_s = wait_s(
            self._waiting.rows,
            max_rows=bounds.max_rows,
            max_delay_s=bounds.max_delay_s,
            oldest_s=now - self._waiting.oldest().arrived,
            others_gap_s=self._others_gap_s,
        )
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay_s > 0:
            self._timer = self._loop.call_later(delay_s, self._flush)
        return delay_s > 0

    def _timely(self, batch: list[Entry], now: float) -> list[Entry]:
        """Those whose time is not over; the others are told."""
        waits: list[float] = []
        for entry in batch:
            if 0 < entry.expires_at <= now:
                late = TurnoutError("deadline", "The request's time was over before its turn came.")
                self._tell(entry, late)
            else:
                waits.append(now - entry.arrived)
        self._tally.waited(waits)
        return batch if len(waits) == len(batch) else [entry for entry in batch if entry.caller is not None]

    def _start(self, batch: list[Entry], now: float) -> None:
        rows = sum([entry.rows or 1 for entry in batch])
        expected_us = self._costs.of(rows)
        if expected_us <= self._bounds.inline_limit_us:
            outcomes = self._execute(batch)
            self._ran(rows, expected_us, perf_counter() - now)
            for entry, outcome in zip(batch, outcomes, strict=True):
                self._tell(entry, outcome)
        else:
            self._is_busy = True
            self._busy_until = now + expected_us * self._pace.factor / 1e6
            self._thread.submit(self._work, batch, rows)

    def _ran(self, rows: int, expected_us: float, took_s: float) -> None:
        self._tally.ran(rows, took_s)
        pace = self._pace
        pace.saw(took_s * 1e6, expected_us)
        self._longest_s = self._longest_us * pace.factor / 1e6

    def _work(self, batch: list[Entry], rows: int) -> None:
        """In the thread."""
        started = perf_counter()
        outcomes = self._execute(batch)
        took_s = perf_counter() - started
        self._loop.call_soon_threadsafe(self._ended, batch, outcomes, rows, took_s)

    def _execute(self, batch: list[Entry]) -> list[Outcome]:
        try:
            return execute(self._run, batch)
        except Exception:  # a bug: nobody may wait for ever
            log.exception("inference failed with an error that nobody expected")
            return [TurnoutError("internal", "The worker failed; its log says why.") for _ in batch]

    def _ended(self, batch: list[Entry], outcomes: list[Outcome], rows: int, took_s: float) -> None:
        self._is_busy = False
        self._ran(rows, self._costs.of(rows), took_s)
        for entry, outcome in zip(batch, outcomes, strict=True):
            self._tell(entry, outcome)
        self._again()

    def _again(self) -> None:
        if self._can_run() and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._flush)

    def _tell(self, entry: Entry, outcome: Outcome) -> None:
        caller, entry.caller = entry.caller, None
        if caller is None:
            return
        try:
            caller.told(outcome)
        except Exception:  # a bug in one reply must not take its batch-mates with it
            log.exception("a reply could not be written")
