"""Who pinned a version that ends? Counted with a reply that is on its way, for such requests alone.

Must not know: Redis. Filled by `exchange`; the process writes what has gathered.
"""

from collections import Counter, defaultdict

from gateway.contract.headers import AUTHORIZATION
from gateway.core.matching import Headers
from gateway.dataplane.door import Door

MOST_WAITING = 10_000  # callers of a model between two writes; more are counted in the metric alone


class PinCounts:
    """`totals` (model, version) only grow, for metrics; `waiting` (model -> version, caller) is for Redis."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.totals: Counter[tuple[str, str]] = Counter()
        self.waiting: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)

    def note(self, model: str, version: str, headers: Headers, address: str) -> None:
        self.totals[model, version] += 1
        grant = self.door.known.get(headers.get(AUTHORIZATION, b"")) if self.door.is_on else None
        caller = f"address {address}" if grant is None else f"key {grant.key_id}"
        counts = self.waiting[model]
        if len(counts) < MOST_WAITING or (version, caller) in counts:
            counts[version, caller] += 1

    def take(self) -> dict[str, Counter[tuple[str, str]]]:
        """What has gathered since; whoever could not write it gives it back."""
        taken = dict(self.waiting)
        self.waiting.clear()
        return taken

    def give_back(self, model: str, counts: Counter[tuple[str, str]]) -> None:
        self.waiting[model].update(counts)
