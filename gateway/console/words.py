"""Numbers and documents in few words, as pages show them, and the `turnout …` commands that do the same.

Pure. Called by pages; the command line has words of its own.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

NOTHING = "–"
METRICS = ("accuracy", "mae", "rmse", "reward")


def command(*parts: object) -> str:
    """`turnout route split digits 1=90`, safe to paste into a shell."""
    return shlex.join(["turnout", *(f"{part:g}" if isinstance(part, float) else str(part) for part in parts)])


def split_command(model: str, weights: Mapping[str, float]) -> str:
    return command("route", "split", model, *(f"{name}={weight:.10g}" for name, weight in weights.items()))


def with_options(line: str, *, reason: str = "", force: bool = False, named: str = "--reason") -> str:
    """The command with what was typed in a dialog."""
    options = [*(["--force"] if force else []), *([named, reason] if reason else [])]
    return f"{line} {shlex.join(options)}" if options else line


def served(applied: Mapping[str, Any] | None) -> str:
    """`; 3 of 3 gateways serve it, 31 ms after the click`."""
    if applied is None:
        return ""
    where = f"; {applied['gateways']} of {applied['of']} gateways serve it"
    if applied["complete"]:
        return (
            f"{where}, {applied['ms']:.0f} ms after the click" if applied["of"] else "; no gateway is running"
        )
    late = ", ".join(f"{item['address']} is still at {item['revision']}" for item in applied["stale"])
    return f"{where}; {late}"


def rate(per_s: float) -> str:
    if per_s >= 100:
        return f"{per_s:.0f}/s"
    return f"{per_s:.1f}/s" if per_s else "0/s"


def percent(share: float | None, digits: int = 1) -> str:
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def weight(value: float) -> str:
    return f"{value:.6g} %"


def interval(metric: str, estimate: Mapping[str, Any] | None) -> str:
    """`84.6 % (79.1 to 89.3)`."""
    if estimate is None or estimate["value"] is None:
        return NOTHING
    if metric == "accuracy":
        low, high = (_bound(estimate[end], 100, ".1f") for end in ("low", "high"))
        return f"{percent(estimate['value'])} ({low} to {high})"
    low, high = (_bound(estimate[end], 1, ".4g") for end in ("low", "high"))
    return f"{estimate['value']:.4g} ({low} to {high})"


def _bound(value: float | None, factor: float, form: str) -> str:
    return "unbounded" if value is None else format(factor * value, form)


def metric_of(row: Mapping[str, Any]) -> str | None:
    """The metric by which this version is scored."""
    return next((name for name in METRICS if row.get(name) is not None), None)


def milliseconds(latency: Mapping[str, Any] | None, quantile: str) -> str:
    return NOTHING if latency is None else f"{latency[quantile]['value'] / 1000:.3g} ms"


def failures(row: Mapping[str, Any]) -> str:
    """`0.2 %: no_workers 3`."""
    found = row["error_rate"]
    share = percent(found["value"], 2) if found else NOTHING
    codes = ", ".join(f"{code} {count}" for code, count in row["errors"].items())
    return f"{share} – {codes}" if codes else share


def pool_words(pool: Mapping[str, Any] | None) -> str:
    """`2 of 2 ready, 1 starting`."""
    if pool is None:
        return "no worker"
    if pool["wanted"] == pool["ready"] == 0:
        return "no worker" if pool["reasons"] else "no worker: nothing needs it"
    wanted = "" if pool["wanted"] is None else f" of {pool['wanted']}"
    told = [f"{pool['ready']}{wanted} ready"]
    told += [f"{pool[state]} {state}" for state in ("starting", "draining") if pool[state]]
    return ", ".join(told)


def pool_kind(pool: Mapping[str, Any]) -> str:
    """The colour of these words; none where no worker is there and none is needed."""
    if pool["wanted"] == pool["ready"] == 0:
        return "bad" if pool["reasons"] else ""
    return "good" if pool["ready"] >= (1 if pool["wanted"] is None else pool["wanted"]) else "bad"


def pool_reason(pool: Mapping[str, Any]) -> str:
    """Why it has workers: `split 90 %, shadow 20 %`, or when they stop."""
    said = ", ".join(pool["reasons"])
    return said if pool["stops_in_s"] is None else f"{said}; stops in {duration(pool['stops_in_s'])}"


def bytes_words(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def match_words(conditions: Sequence[Mapping[str, Any]]) -> str:
    return " and ".join(_condition(condition) for condition in conditions)


def _condition(condition: Mapping[str, Any]) -> str:
    for test, words in (("exact", "="), ("prefix", "starts with"), ("regex", "matches")):
        if condition.get(test) is not None:
            return f"{condition['header']} {words} {condition[test]}"
    return f"{condition['header']} is {'present' if condition.get('present') else 'absent'}"


def tensor_words(tensors: Sequence[Mapping[str, Any]]) -> str:
    """`X FP32 [n, 64]`."""
    return ", ".join(
        f"{tensor['name']} {tensor['datatype']} "
        f"[{', '.join('n' if size < 0 else str(size) for size in tensor['shape'])}]"
        for tensor in tensors
    )
