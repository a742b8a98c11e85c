"""Documents and times in few words, the same in every command."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click


def split_words(split: Sequence[Mapping[str, Any]]) -> str:
    """`1=90 2=10`."""
    return " ".join(f"{entry['version']}={entry['weight']:.10g}" for entry in split)


def shadow_words(shadows: Sequence[Mapping[str, Any]]) -> str:
    """`3=100 4=20 where x-tenant = beta`."""
    return " ".join(
        f"{shadow['version']}={shadow.get('percent', 100):.10g}"
        + (f" where {match_words(shadow['match'])}" if shadow.get("match") else "")
        for shadow in shadows
    )


def match_words(conditions: Sequence[Mapping[str, Any]]) -> str:
    """`x-tenant = beta and x-debug is present`."""
    return " and ".join(_condition(condition) for condition in conditions)


def _condition(condition: Mapping[str, Any]) -> str:
    header = condition.get("header")
    for test, words in (("exact", "="), ("prefix", "starts with"), ("regex", "matches")):
        if condition.get(test) is not None:
            return f"{header} {words} {condition[test]}"
    return f"{header} is {'present' if condition.get('present') else 'absent'}"


def follow_words(following: Mapping[str, Any]) -> str:
    """`champion (2) by plan standard: rolling: rollout r1 to 2 is running`."""
    by = f"by plan {following['plan']}" if following["plan"] else "at once"
    state = following["state"].replace("_", " ")
    named = f"{following['alias']} ({following['version'] or 'no version'})"
    return f"{named} {by}: {state}: {following['sentence']}"


def document_lines(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a route document says, as (name, text)."""
    lines = [("split", split_words(document["split"]))]
    if slots := document.get("slots"):
        names = " ".join(f"{name}={slots[name]}" for name in ("blue", "green") if slots.get(name))
        lines.append(("slots", f"{names}, live: {slots['live']}"))
    lines += [
        ("rule", f"{rule['name']}: {match_words(rule['match'])} => {split_words(rule['split'])}")
        for rule in document.get("rules", ())
    ]
    if document.get("shadows"):
        lines.append(("shadows", shadow_words(document["shadows"])))
    if sticky := document.get("sticky"):
        lines.append(("sticky", " ".join(f"{kind} {name}" for kind, name in sticky.items() if name)))
    lines.append(("fallback", document.get("fallback") or "none (503)"))
    retry, record = document.get("retry", {}), document.get("record", {})
    lines.append(
        (
            "limits",
            f"timeout {document.get('timeout_s', 2):g} s, {retry.get('attempts', 2)} attempts, "
            f"retries at most {retry.get('budget_percent', 20):g} %",
        )
    )
    concurrency = document.get("concurrency", {})
    upto = "up to " if concurrency.get("adaptive") else ""
    lines.append(
        (
            "places",
            f"{upto}{concurrency.get('per_worker', 128)} at a worker, "
            f"{concurrency.get('queue', 1024)} wait up to {concurrency.get('queue_ms', 250):g} ms",
        )
    )
    if hedge := document.get("hedge"):
        lines.append(("hedge", f"a second attempt after {hedge['after_ms']:g} ms"))
    lines.append(
        ("record", f"{record.get('output') or 'first output'}, {record.get('percent', 100):g} % of requests")
    )
    return lines


def quoted(reason: str) -> str:
    """`: "canary"`; nothing where no reason was given."""
    return f': "{reason}"' if reason else ""


def age(at_ms: int) -> str:
    """`12 s ago`."""
    seconds = max(0.0, time.time() - at_ms / 1000)
    return f"{duration(seconds)} ago"


def commit_words(lineage: Mapping[str, Any]) -> str:
    """`1f2e3d4c5b6a with changed files`; empty where no commit is known."""
    changed = " with changed files" if lineage["git_clean"] is False and lineage["git_commit"] else ""
    return f"{lineage['git_commit'][:12]}{changed}"


def duration(seconds: float) -> str:
    """`12 s`, `3 min`, `5 h`, `2 d`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def moment(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000))


def utc(at_ms: int) -> str:
    """For what others read elsewhere."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_ms / 1000))


def bytes_words(size: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000  # type: ignore[assignment]
    return f"{size:.1f} GB"


def parse_weights(arguments: Sequence[str]) -> list[tuple[str, float]]:
    """`1=90` -> ("1", 90.0); the control API says whether names and sums are right."""
    return [_weight(argument) for argument in arguments]


def _weight(argument: str) -> tuple[str, float]:
    version, equals, percent = argument.rpartition("=")
    try:
        weight = float(percent.removesuffix("%"))
    except ValueError:
        weight = math.nan
    if not (equals and version and math.isfinite(weight)):
        raise click.UsageError(f"{argument!r} is not VERSION=PERCENT, such as 2=10")
    return version, weight


def parse_since(text: str) -> int:
    """`90s`, `15m`, `1h`, `2d` -> seconds."""
    sizes = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in sizes:
        raise click.UsageError(f"{text!r} is not a time such as 15m, 1h or 2d")
    return int(number) * sizes[unit]


def tensors_words(specs: Sequence[Mapping[str, Any]]) -> str:
    """`X FP32 [n, 64]`, several divided by commas."""
    return ", ".join(f"{spec['name']} {spec['datatype']} [{_shape(spec['shape'])}]" for spec in specs)


def _shape(sizes: Sequence[int]) -> str:
    return ", ".join("n" if size < 0 else str(size) for size in sizes)
