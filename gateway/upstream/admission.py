"""Who may be at the workers of a version now, who waits, and who is sent away.

A place is taken for the time that a request is at a worker. When all are taken requests wait in order, as
many and as long as their route allows; one that could not have its turn in that time, going by how fast
places have come free, is refused at once instead of late. The rules are `core.limit`'s.

Must not know: routes, clients, what is sent. One for each `Pool`; used by `dataplane.exchange` and
`shadower`.
"""

from collections import deque
from time import perf_counter
from typing import Protocol

from gateway.core.limit import Gradient, expected_wait_s


class Waiter(Protocol):
    is_over: bool  # does not want its place any more
    wait_until: float  # by `time.perf_counter`

    def admitted(self) -> None:
        """The place is taken: use it, and `leave` afterwards."""

    def waited_too_long(self) -> None: ...


class Admission:
    """`active < limit` and nobody waits: take a place by raising `active`. Else `wait`."""

    __slots__ = ("active", "full_since", "gradient", "limit", "most", "turns", "waiting", "was_full")

    def __init__(self) -> None:
        self.active = 0
        self.limit = 0
        self.most = 0  # what `limit` is without adaptation
        self.waiting: deque[Waiter] = deque()
        self.gradient: Gradient | None = None
        self.full_since = 0.0  # when somebody began to wait, by `time.perf_counter`
        self.turns = 0.0  # that were given since then; both are halved with every `look`
        self.was_full = False  # since the last `look`

    def set_most(self, most: int) -> None:
        """The pool or its route has changed."""
        self.most = most
        self.limit = most if self.gradient is None else min(most, self.limit or most)
        if self.waiting:
            self.admit()

    def wait(self, waiter: Waiter, *, most: int, now: float) -> bool:
        """Queue until `waiter.wait_until`; False when `most` wait already, or its turn would come too
        late."""
        self.was_full = True
        ahead = len(self.waiting)
        if not ahead:
            self.full_since, self.turns = now, 0.0
        expected_s = expected_wait_s(ahead, turns=self.turns, in_s=now - self.full_since)
        if ahead >= most or now + expected_s > waiter.wait_until:
            return False
        self.waiting.append(waiter)
        return True

    def leave(self) -> None:
        """A place is free."""
        self.active -= 1
        if self.waiting:
            self.admit()

    def admit(self) -> None:
        """Give free places to those who wait."""
        waiting = self.waiting
        while waiting and self.active < self.limit:
            waiter = waiting.popleft()
            if not waiter.is_over:
                self.active += 1
                self.turns += 1
                waiter.admitted()

    def expire(self, now: float) -> None:
        """Send away who has waited too long; `now` by `time.perf_counter`."""
        waiting = self.waiting
        while waiting and (waiting[0].is_over or waiting[0].wait_until <= now):
            waiter = waiting.popleft()
            if not waiter.is_over:
                waiter.waited_too_long()

    def look(self, now_s: float, *, answers: int, told_us: int, workers: int) -> None:
        """Every window, with its answers: how many places should there be?"""
        if self.waiting:  # the pace of long ago counts less and less
            now = perf_counter()
            self.full_since, self.turns = now - (now - self.full_since) / 2, self.turns / 2
        if self.gradient is not None and workers:
            self.limit = self.gradient.step(
                now_s=now_s,
                answers=answers,
                mean_us=told_us / answers if answers else 0.0,
                was_full=self.was_full,
                workers=workers,
                most=self.most,
            )
            self.admit()
        self.was_full = bool(self.waiting)
