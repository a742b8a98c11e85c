"""A dictionary that is never changed: the next one shares with it whatever was not touched.

The entries lie in `SHARDS` small dictionaries. A change copies the shards that it touches and no others, and
two maps are compared shard by shard, so that a commit costs much the same with one model and with 10,000.

Used by `compile` for the models and problems of a snapshot.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TypeVar

SHARDS = 256  # of 10,000 entries 40 are copied with a change
Value = TypeVar("Value")


class PersistentMap(Mapping[str, Value]):
    __slots__ = ("_shards",)

    def __init__(self, shards: list[dict[str, Value]] | None = None) -> None:
        self._shards = [{}] * SHARDS if shards is None else shards

    def __getitem__(self, key: str) -> Value:
        return self._shards[hash(key) % SHARDS][key]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._shards)

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def updated(self, changes: Mapping[str, Value | None]) -> "PersistentMap[Value]":
        """The map with these entries in it, and without those that are None."""
        if not changes:
            return self
        shards = self._shards.copy()
        for key, value in changes.items():
            at = hash(key) % SHARDS
            if shards[at] is self._shards[at]:
                shards[at] = self._shards[at].copy()
            if value is None:
                shards[at].pop(key, None)
            else:
                shards[at][key] = value
        return PersistentMap(shards)

    def differing(self, other: "PersistentMap[Value]") -> Iterator[str]:
        """Keys whose values are not the same object in both."""
        if self is other:
            return
        for mine, others in zip(self._shards, other._shards, strict=True):
            if mine is not others:
                for key in mine.keys() | others.keys():
                    if mine.get(key) is not others.get(key):
                        yield key
