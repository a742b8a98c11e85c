"""Who waits for the model, and who shares its next run.

Requests of one *group* (equal dimensions beside the first, equal datatypes) share a run, up to a number of
rows; a larger request runs alone. The oldest request of all heads the next run, so nobody waits for more
runs than there were requests before it; within its group nobody is overtaken at all.

A request leaves in constant time, whoever it is: it is marked, skipped later, and swept away when the marked
ones are the majority. Pure: no clock, no I/O. Used by `workers.batcher`.
"""

from collections import deque
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

SWEEP_AT = 64  # marked requests beyond as many as there are waiting ones


class Queued(Protocol):
    """`rows` is 0 where the inputs do not agree about them; `group` is None where there is only one."""

    is_waiting: bool

    @property
    def rows(self) -> int: ...
    @property
    def group(self) -> Hashable: ...


Q = TypeVar("Q", bound=Queued)


class Waiting(Generic[Q]):
    """In order of arrival, and of each group. `count`, `rows`: of what waits."""

    __slots__ = ("_lines", "_marked", "_order", "count", "rows")

    def __init__(self) -> None:
        self._order: deque[Q] = deque()
        self._lines: dict[Hashable, deque[Q]] = {}  # of groups that are not None
        self._marked = 0  # left since the last sweep, and perhaps still in a line
        self.count = 0
        self.rows = 0

    def add(self, entry: Q) -> None:
        entry.is_waiting = True
        self._order.append(entry)
        if entry.group is not None:
            self._lines.setdefault(entry.group, deque()).append(entry)
        self.count += 1
        self.rows += entry.rows

    def remove(self, entry: Q) -> None:
        """If it waits."""
        if entry.is_waiting:
            self._leave(entry)
            self._mark(1)

    def oldest(self) -> Q:
        """Of what waits; there must be something."""
        return _head(self._order)

    def take(self, max_rows: int) -> list[Q]:
        """Remove those who share the next run; something must wait."""
        first = self.oldest()
        group = first.group
        line = self._order if group is None else self._lines[group]
        _head(line)
        line.popleft()
        self._leave(first)
        batch = [first]
        if not self.count:
            self._clear()
            return batch
        rows = first.rows
        room = max_rows - rows if rows else 0
        while line and room > 0:
            entry = line[0]
            if entry.is_waiting:
                if not 0 < entry.rows <= room:
                    break
                room -= entry.rows
                batch.append(entry)
                self._leave(entry)
            line.popleft()
        if group is not None:
            if not line:
                del self._lines[group]
            self._mark(len(batch))
        return batch

    def _leave(self, entry: Q) -> None:
        entry.is_waiting = False
        self.count -= 1
        self.rows -= entry.rows

    def _clear(self) -> None:
        """Nobody waits: forget the marked ones."""
        self._order.clear()
        self._lines.clear()
        self._marked = 0

    def _mark(self, number: int) -> None:
        """So many left from the middle of a line: sweep when they may be the majority."""
        self._marked += number
        if self._marked > self.count + SWEEP_AT:
            self._marked = 0
            self._order = _waiting(self._order)
            swept = {group: _waiting(line) for group, line in self._lines.items()}
            self._lines = {group: line for group, line in swept.items() if line}


def _head(line: deque[Q]) -> Q:
    while not line[0].is_waiting:
        line.popleft()
    return line[0]


def _waiting(line: deque[Q]) -> deque[Q]:
    return deque(entry for entry in line if entry.is_waiting)
