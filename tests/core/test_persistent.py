"""A change makes a new map, leaves the old one as it was, and copies only what it touches."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.persistent import SHARDS, PersistentMap

KEYS = st.sampled_from([f"model-{number}" for number in range(40)])
CHANGES = st.lists(st.dictionaries(KEYS, st.none() | st.integers()))


@given(CHANGES)
def test_it_holds_what_a_dictionary_would_after_the_same_changes(
    changes: list[dict[str, int | None]],
) -> None:
    made: PersistentMap[int] = PersistentMap()
    wanted: dict[str, int] = {}
    for changed in changes:
        before, last = dict(wanted), made
        made = last.updated(changed)
        wanted |= {key: value for key, value in changed.items() if value is not None}
        wanted = {key: value for key, value in wanted.items() if changed.get(key, value) is not None}
        assert dict(last) == before
    assert dict(made) == wanted
    assert len(made) == len(wanted)


def test_a_change_copies_one_shard_of_many() -> None:
    full: PersistentMap[str] = PersistentMap[str]().updated({str(number): "" for number in range(10_000)})
    after = full.updated({"17": "new"})
    assert sum(one is not other for one, other in zip(full._shards, after._shards, strict=True)) == 1
    assert len(full._shards) == SHARDS
    assert full.updated({}) is full


def test_what_differs_is_found_by_identity() -> None:
    one = PersistentMap[list[int]]().updated({"a": [1], "b": [2], "c": [3]})
    other = one.updated({"b": [2], "c": None, "d": [4]})
    assert set(one.differing(other)) == set(other.differing(one)) == {"b", "c", "d"}
    assert not set(one.differing(one))
