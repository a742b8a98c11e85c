"""A second attempt while the first is still awaited, for routes that ask for it: the first answer wins.

The second attempt goes to another worker of the same version and takes a token of the route's retry budget,
so that a version which is slow as a whole is not asked twice for everything. Whoever loses is given up: its
connection is closed, so that its worker stops. A failure of one of the two is not repeated while the other is
still out.

Must not know: what an answer is turned into. Made by `protocol` instead of an `Exchange`.
"""

import asyncio
from time import perf_counter

from gateway.contract.reply import PLAIN_JSON
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.lane import Lane
from gateway.upstream.outcome import Attempt, Failure
from gateway.upstream.worker import Worker
from gateway.wire.protocol import HttpProtocol
from gateway.wire.room import Room


class Second:
    """The receiver of the second attempt."""

    __slots__ = ("connection", "hedged", "is_over", "sent", "worker")

    def __init__(self, hedged: "Hedged", worker: Worker, sent: float) -> None:
        self.hedged = hedged
        self.worker = worker
        self.sent = sent
        self.connection: Attempt | None = None
        self.is_over = False

    @property
    def room(self) -> Room:
        return self.hedged.room

    def on_plain(self, worker_us: int, output: bytes | None, body: bytes) -> None:
        self.hedged.second_won()
        self.hedged.on_plain(worker_us, output, body)

    def on_reply(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.hedged.second_won()
        self.hedged.on_reply(status, headers, body)

    def on_failure(self, failure: Failure) -> None:
        self.hedged.second_failed(failure)

    def give_up(self) -> None:
        self.is_over = True
        if self.connection is not None:
            self.connection.abandon()


class Hedged(Exchange):
    __slots__ = ("is_first_out", "second", "timer")

    def __init__(self, lane: Lane, client: HttpProtocol) -> None:
        super().__init__(lane, client)
        self.second: Second | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.is_first_out = False

    def _send(self, worker: Worker | None, now: float) -> None:
        self.is_first_out = worker is not None
        if worker is not None and self.timer is None and self.entry.hedge_s is not None:
            self.timer = asyncio.get_running_loop().call_later(self.entry.hedge_s, self._hedge)
        super()._send(worker, now)

    def _hedge(self) -> None:
        """The first attempt takes long: ask somebody else as well."""
        if self.is_over or not self.is_first_out:
            return
        other = self._other_worker()
        if other is None:
            return
        self.attempts += 1
        self.second = second = Second(self, other, perf_counter())
        self.lane.tallies.hedges[self.entry.model, self.target.version] += 1
        left_ms = max(1, int((self.deadline - second.sent) * 1000))
        other.send(second, self._second_head(second, left_ms), self.body)

    def _second_head(self, second: Second, left_ms: int) -> bytes:
        return self.target.head(self.forwarded, left_ms)

    def second_won(self) -> None:
        """From here on the second attempt's answer is the exchange's own."""
        second, self.second = self.second, None
        assert second is not None
        second.is_over = True
        if self.connection is not None:
            self.connection.abandon()
            self.connection = None
        self.worker, self.sent = second.worker, second.sent

    def second_failed(self, failure: Failure) -> None:
        second, self.second = self.second, None
        assert second is not None
        second.is_over = True
        if failure not in (Failure.STALE, Failure.BUSY, Failure.NO_ROOM):
            self._tell_failed(second.worker, failure)
            second.worker.failed(failure)
        if not self.is_first_out:
            self._fail("bad_upstream", f"The worker failed ({failure.value}).")

    def on_failure(self, failure: Failure) -> None:
        self.is_first_out = False
        if self.second is None or failure is Failure.STALE:
            super().on_failure(failure)
        elif failure not in (Failure.BUSY, Failure.NO_ROOM):
            self._tell_failed(self.worker, failure)
            self.worker.failed(failure)  # and the second attempt decides

    def on_reply(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self._give_up_second()
        super().on_reply(status, headers, body)

    def on_plain(self, worker_us: int, output: bytes | None, body: bytes, first: bytes = PLAIN_JSON) -> None:
        self._give_up_second()
        super().on_plain(worker_us, output, body, first)

    def _spare(self) -> None:
        """A timer or a second attempt may know it still."""

    def _end(self) -> None:
        self._give_up_second()
        super()._end()

    def _give_up_second(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        second, self.second = self.second, None
        if second is not None:
            second.give_up()
