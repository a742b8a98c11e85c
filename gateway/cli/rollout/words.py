"""A rollout in words: its steps as a list, what it waits for, its events. Called by `turnout rollout`."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.cli.words import duration, moment, quoted

_MARKS = {"done": "✓", "now": "▶", "next": "·", "ended here": "✗", "not reached": " "}


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The whole status."""
    yield (
        f"{found['model']}: version {found['candidate']} instead of {found['baseline']} is "
        f"{found['phase'].replace('_', ' ')}" + (f": {found['sentence']}" if found["sentence"] else "")
    )
    yield (
        f"  rollout    {found['rollout_id']}, started {moment(found['started_ms'])} by {found['author']}"
        + quoted(found["reason"])
    )
    for step in found["steps"]:
        mark = _MARKS.get(step["state"], " ")
        gates = ", ".join(step["gates"])
        yield f"  {mark} {step['step'] + 1:>2}. {step['title']}" + (f"  ({gates})" if gates else "")
    if not found["is_over"]:
        yield from _now(found)
    elif found["progress"] is not None:
        yield f"  radius     {radius(found)}"
    for event in found["events"][-3:]:
        yield f"  {event_line(event)}"


def _now(found: Mapping[str, Any]) -> Iterator[str]:
    if found["controller"] is None:
        yield (
            "  nobody moves it on: no control process with a rollout controller is alive. "
            "`turnout rollout abort` works all the same"
        )
    progress = found["progress"]
    if progress is None:
        return
    if progress["step"] == found["step"]:
        yield f"  counted    {duration(progress['counted_s'])} in which every gateway served this step"
        if progress["waits_for"]:
            yield f"  waits for  {progress['waits_for']}"
        for verdict in progress["verdicts"]:
            yield f"  {verdict['outcome']:<10} {verdict['sentence']}"
    yield f"  radius     {radius(found)}"


def radius(found: Mapping[str, Any]) -> str:
    """What the candidate has touched since the start, with its limits."""
    progress, limits = found["progress"], found["limits"]
    told = []
    for name in ("requests", "errors", "units"):
        if progress[name] is not None:
            limit = f" of at most {limits[name]}" if limits.get(name) is not None else ""
            told.append(f"{progress[name]} {name}{limit}")
    return ", ".join(told) + " answered by the candidate"


def event_line(event: Mapping[str, Any]) -> str:
    return f"{moment(event['at_ms'])}  {event['what'].replace('_', ' ')}: {event['sentence']}"


def verdict_lines(event: Mapping[str, Any]) -> Iterator[str]:
    """Of the event that they led to; the end of the last step and of the rollout share them."""
    for verdict in event["verdicts"] if event["what"] != "succeeded" else ():
        yield f"    {verdict['outcome']:<6} {verdict['sentence']}"
