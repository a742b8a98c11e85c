"""Counts of the requests of one route by the values of a few headers, for routes that ask for them.

Values come from callers, so they are bounded: in length, in their characters, and in how many of each header
are told apart. What a label will need to be scored by slice goes beside the prediction's record.

Must not know: HTTP, Redis. Called by `exchange` after a reply, for routes with `record.slices` alone.
"""

import re
from collections import Counter
from time import monotonic

from gateway.contract.evidence import MAX_VALUE_LENGTH, MOST_VALUES, OTHER_VALUES, PRIMARY, SLICE, role_field

_NO_VALUE = re.compile(r"[^ -{}~]")  # not printable, or the `|` between parts
FORGET_S = 60.0  # at most so often the values that are told apart are chosen anew
ABSENT = "(none)"


class Slicer:
    __slots__ = ("counts", "forget_at_s", "values")

    def __init__(self, headers: tuple[str, ...], counts: Counter[str]) -> None:
        """`counts`: fields of evidence that the recorder takes with its next batch."""
        self.values: dict[bytes, dict[bytes, str]] = {name.encode(): {} for name in headers}
        self.counts = counts
        self.forget_at_s = monotonic() + FORGET_S

    def text(self, headers: dict[bytes, bytes]) -> bytes:
        """What is kept beside a record: `x-tenant|beta|x-country|ch`."""
        return "|".join(f"{name}|{value}" for name, value in self._of(headers)).encode()

    def count(self, headers: dict[bytes, bytes], version: str, statistic: str) -> None:
        """`statistic`: `ok` or `e:<code>`."""
        for name, value in self._of(headers):
            for counted in ("n", statistic):
                self.counts[f"{SLICE}|{name}|{value}|{role_field(PRIMARY, version, counted)}"] += 1

    def _of(self, headers: dict[bytes, bytes]) -> list[tuple[str, str]]:
        return [(name.decode(), self._value(name, headers.get(name))) for name in self.values]

    def _forget(self) -> None:
        for known in self.values.values():
            known.clear()
        self.forget_at_s = monotonic() + FORGET_S

    def _value(self, name: bytes, raw: bytes | None) -> str:
        known = self.values[name]
        if len(known) >= MOST_VALUES and monotonic() >= self.forget_at_s:
            self._forget()  # or made-up values would keep others out for ever
        value = known.get(raw or b"")
        if value is None:
            if not raw:
                return ABSENT
            if len(known) >= MOST_VALUES or len(raw) > MAX_VALUE_LENGTH:
                return OTHER_VALUES
            value = known[raw] = _NO_VALUE.sub("_", raw.decode("latin-1"))
        return value
