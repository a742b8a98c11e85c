"""What the exchanges of one process share, and the sweep that ends those that have taken too long.

Must not know: what an exchange does, how it ends. Made by `process`, swept by its loop.
"""

from typing import Protocol

from gateway.dataplane.incidents import Incidents
from gateway.dataplane.pins import PinCounts
from gateway.dataplane.shadower import Shadower
from gateway.dataplane.tally import Tallies
from gateway.upstream.admission import Admission
from gateway.wire.room import Room


class InFlight(Protocol):
    """An exchange that has begun and not ended."""

    deadline: float
    is_over: bool

    def expired(self) -> None:
        """The deadline has passed: end."""


class Lane:
    __slots__ = ("in_flight", "incidents", "pins", "queues", "room", "shadower", "tallies")

    def __init__(self, tallies: Tallies, shadower: Shadower, room: Room, pins: PinCounts) -> None:
        self.room = room  # for large replies
        self.pins = pins
        self.tallies = tallies
        self.shadower = shadower
        self.in_flight: dict[InFlight, None] = {}
        self.incidents = Incidents()
        self.queues: set[Admission] = set()  # in which somebody waits, or did

    def expire(self, now: float) -> None:
        """Answer whatever is past its deadline or its time in a queue; `now` by `time.perf_counter`."""
        for exchange in [exchange for exchange in self.in_flight if exchange.deadline <= now]:
            if not exchange.is_over:  # its turn may have come with the place of one before it
                exchange.expired()
        for queue in list(self.queues):
            queue.expire(now)
            if not queue.waiting:
                self.queues.discard(queue)
