"""Evidence equals a recount from the final state, whatever the order and repetition of events."""

import asyncio
import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.contract.feedback import FeedbackResult
from gateway.store.connection import connect
from gateway.store.embedded import EmbeddedServer
from gateway.store.predictions import Predictions
from tests.store.samples import TTL_S, batch, entry, new_id, record, total

NOW_S = 1_800_000_000
LABELS: dict[str, list[Any]] = {"c": [0, 1, 2, "two", True], "r": [0.0, 0.1, -1.25, 3, 1e3]}


@dataclass
class Story:
    """One request: its answers by slot (-1 = the primary) and the feedback that comes for it, in order."""

    kind: str
    rows: int
    answers: dict[int, tuple[str, str, list[Any]]]
    labels: list[list[Any]]
    is_own_id: bool
    minute: int
    prediction_id: str = ""
    known: str = ""  # the last label that counted, while events are played
    written: set[int] = field(default_factory=set)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    kind = draw(st.sampled_from("cccrrn"))
    rows = draw(st.integers(1, 3))
    scalars = st.sampled_from(LABELS["r" if kind == "r" else "c"][:3])
    outputs = st.lists(scalars, min_size=rows, max_size=rows)
    slots = draw(st.sets(st.integers(0, 7), max_size=3))
    answers = {-1: ("1", kind, draw(outputs))}
    for slot in slots:
        other_kind = draw(st.sampled_from([kind, kind, kind, "n", "c", "r"]))
        other = st.sampled_from(LABELS["r" if other_kind == "r" else "c"])
        answers[slot] = (f"s{slot % 2}", other_kind, draw(st.lists(other, min_size=1, max_size=3)))
    labels = draw(
        st.lists(st.lists(st.sampled_from(LABELS["r"] + LABELS["c"]), min_size=1, max_size=3), max_size=4)
    )
    labels += draw(st.lists(outputs, max_size=2))
    return Story(kind, rows, answers, labels, draw(st.booleans()), draw(st.integers(0, 2)))


def _type(value: Any) -> str:
    return {bool: "boolean", int: "number", float: "number", str: "string"}[type(value)]


def _compare(kind: str, outputs: list[Any], label: list[Any]) -> list[Any] | None:
    """An independent reading of the contract: per row (truth, output) or an error; None = incomparable."""
    if kind == "n":
        return []
    if len(outputs) != len(label):
        return None
    if kind == "r":
        if not all(_type(truth) == "number" for truth in label):
            return None
        pairs = zip(outputs, label, strict=True)
        return [None if _type(output) != "number" else output - truth for output, truth in pairs]
    if any(_type(output) != _type(truth) for output, truth in zip(outputs, label, strict=True)):
        return None
    return list(zip(label, outputs, strict=True))


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return orjson.dumps(value).decode()


def _recount(found: list[Story]) -> dict[str, float]:
    terms: defaultdict[str, list[float]] = defaultdict(list)
    for story in found:
        if not story.known or -1 not in story.written:
            continue
        label = orjson.loads(story.known)
        ours = _compare(story.kind, story.answers[-1][2], label)
        assert ours is not None
        for slot in story.written:
            version, kind, outputs = story.answers[slot]
            compared = _compare(kind, outputs, label)
            name = f"{'p' if slot == -1 else 's'}|{version}|"
            terms[name + "l"].append(1)
            for row in compared or []:
                if row is None:
                    continue
                terms[name + "rows"].append(1)
                if isinstance(row, tuple):
                    terms[f"{name}c:{_text(row[0])}:{_text(row[1])}"].append(1)
                    terms[name + "right"].append(row[0] == row[1])
                else:
                    for power, statistic in ((1, "ae"), (2, "se"), (4, "q4")):
                        terms[name + statistic].append(abs(row) ** power)
            if slot != -1 and compared is not None and kind == story.kind:
                _recount_pair(terms, f"d|1|{version}|", ours, compared)
    return {name: value for name, values in terms.items() if (value := math.fsum(values))}


def _recount_pair(
    terms: defaultdict[str, list[float]], name: str, ours: list[Any], theirs: list[Any]
) -> None:
    for one, other in zip(ours, theirs, strict=True):
        if one is None or other is None:
            continue
        terms[name + "rows"].append(1)
        if isinstance(one, tuple):
            is_right, other_is_right = one[0] == one[1], other[0] == other[1]
            terms[name + "b"].append(is_right and not other_is_right)
            terms[name + "c"].append(other_is_right and not is_right)
        else:
            difference = abs(other) - abs(one)
            terms[name + "d"].append(difference)
            terms[name + "d2"].append(difference**2)


async def _play(redis: Redis, found: list[Story], shuffle: Any) -> None:
    """All events in a random order, some twice, several in one batch or one call."""
    store = Predictions(redis)
    events: list[tuple[Story, Any]] = []
    for story in found:
        story.prediction_id = f"own-{id(story)}" if story.is_own_id else new_id()
        events += [(story, slot) for slot in story.answers] + [(story, label) for label in story.labels]
    shuffle.shuffle(events)
    while events:
        taken = events[: shuffle.randint(1, 4)]
        del events[: len(taken)]
        writes = [(story, what) for story, what in taken if isinstance(what, int)]
        labels = [(story, what) for story, what in taken if not isinstance(what, int)]
        if writes:
            entries = []
            for story, slot in writes:
                version, kind, outputs = story.answers[slot]
                output = outputs[0] if len(outputs) == 1 and shuffle.random() < 0.5 else outputs
                way = shuffle.choice(["", "s/1ab2cd34", "12/w/3"])
                raw = record(version, kind, output, at_s=NOW_S + 60 * story.minute, way=way)
                entries.append(entry(story.prediction_id, raw, slot=None if slot == -1 else slot))
            one = batch(*entries)
            for _ in range(shuffle.choice([1, 1, 2])):
                await store.write("digits", "r", one)
            for story, slot in writes:
                story.written.add(slot)
        if labels:
            items = []
            for story, label in labels:
                shown = label[0] if len(label) == 1 and shuffle.random() < 0.5 else label
                text = orjson.dumps(shown).decode()
                items += [(story.prediction_id, text, None)] * shuffle.choice([1, 1, 2])
            for (prediction_id, text, _), result in zip(
                items, await store.feedback("digits", items, ttl_s=TTL_S), strict=True
            ):
                story = next(story for story in found if story.prediction_id == prediction_id)
                label = orjson.loads(text)
                label = label if isinstance(label, list) else [label]
                fits = _compare(story.kind, story.answers[-1][2], label) is not None
                if -1 not in story.written:
                    assert result is FeedbackResult.WAITING
                    story.known = orjson.dumps(label).decode() if fits else ""
                elif not fits:
                    assert result is FeedbackResult.INVALID
                else:
                    assert result in (
                        FeedbackResult.JOINED, FeedbackResult.CORRECTED, FeedbackResult.DUPLICATE
                    )  # fmt: skip
                    assert (result is FeedbackResult.JOINED) == (not story.known)
                    story.known = orjson.dumps(label).decode()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_evidence_equals_a_recount_for_any_order_of_events(
    shared_server: EmbeddedServer, data: st.DataObject
) -> None:
    found = data.draw(st.lists(stories(), min_size=1, max_size=6))
    shuffle = data.draw(st.randoms(use_true_random=False))

    async def run() -> dict[str, float]:
        redis = connect(shared_server.url, name="test", timeout_s=60)
        try:
            await redis.flushall()
            await _play(redis, found, shuffle)
            store, first = Predictions(redis), NOW_S // 60
            minutes = total(await store.evidence("digits", first, first + 3))
            assert minutes == pytest.approx(total(await store.evidence("digits", first, first + 59)))
            return minutes
        finally:
            await redis.aclose()

    counted, expected = asyncio.run(run()), _recount(found)
    assert {name for name, value in counted.items() if abs(value) > 1e-9} == {
        name for name, value in expected.items() if abs(value) > 1e-9
    }
    for name, value in expected.items():
        assert counted.get(name, 0) == pytest.approx(value, rel=1e-12, abs=1e-9)
