"""A load test's result as one HTML page, and as lines and rows for a terminal.

Pure: pictures come as data URLs. Called by the command.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.core.page import Page, Section
from gateway.loadtest.earlier import Change
from gateway.loadtest.results import QUANTILES

RATES, LATENCY = "Requests over time", "Latency over time"
COLUMNS = (
    "version", "requests>", "share>", "errors>", "p50 ms>", "p90 ms>", "p99 ms>", "p99.9 ms>", "max ms>",
    "score>", "labels>",
)  # fmt: skip
CHANGE_COLUMNS = ("what", "version", "before>", "now>", "now ÷ before>", "is that noise?")


def summary(found: Mapping[str, Any]) -> Iterator[str]:
    """The numbers of the whole run, in sentences."""
    requests, rate = found["requests"], found["rate"]
    asked = "" if rate["intended"] is None else f" ({rate['intended']:,.1f} asked for)"
    yield (
        f"{requests['sent']:,} requests in {found['seconds']:g} s: {rate['sent']:,.1f} a second sent{asked}, "
        f"{requests['answered']:,} answered, {requests['failed']:,} failed ({found['error_rate']:.3%} errors)"
    )
    if found["errors"]:
        told = sorted(found["errors"].items(), key=lambda item: -item[1])
        yield "errors: " + ", ".join(f"{kind} {count:,}" for kind, count in told)
    if found["latency_ms"] is not None:
        yield f"latency ms, {_basis(found)}: {_quantiles(found['latency_ms'])}"
        yield f"latency ms, from when it was sent: {_quantiles(found['service_ms'])}"
    if found["labels"]:
        yield "labels: " + ", ".join(f"{status} {count:,}" for status, count in found["labels"].items())
    driver = found["driver"]
    if driver["cpu_us_per_request"] is not None:
        lag = (
            f"; sent {_number(driver['lag_ms']['p50'])} ms (p99 {_number(driver['lag_ms']['p99'])}) after due"
        )
        yield (
            f"driver: {driver['cpu_us_per_request']:.0f} µs of CPU a request, {driver['cpu_share_most']:.0%} "
            f"of a core in its busiest process{lag if found['scenario']['loop'] == 'open' else ''}"
        )


def _basis(found: Mapping[str, Any]) -> str:
    if found["scenario"]["loop"] == "open":
        return "from when the request was due"
    return "with the requests that waiting users did not send"


def _quantiles(latency: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_number(latency[name])}" for name in (*QUANTILES, "max"))


def rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One for each version that answered."""
    return [
        (
            row["version"],
            f"{row['requests']:,}",
            f"{row['share']:.1%}",
            " ".join(f"{kind} {count}" for kind, count in row["errors"].items()) or "0",
            *(_number((row["latency_ms"] or {}).get(name)) for name in ("p50", "p90", "p99", "p99.9", "max")),
            _score(row),
            str(sum(row["labels"].values())),
        )
        for row in found["versions"]
    ]


def change_rows(changes: Sequence[Change]) -> list[tuple[str, ...]]:
    return [
        (
            change.what,
            change.version or "all",
            _value(change.what, change.before),
            _value(change.what, change.now),
            "" if change.ratio is None else f"{change.ratio:.3f}",
            {None: "", True: "no", False: "could be"}[change.is_certain],
        )
        for change in changes
    ]


def page(found: Mapping[str, Any], *, when: str, verdicts: Sequence[str], changes: Sequence[Change]) -> Page:
    """`verdicts` are the sentences of the thresholds."""
    scenario = found["scenario"]
    asked = (
        f"{scenario['loop']} loop, {_counted(len(scenario['phases']), 'phase')}, scale {found['scale']:g}, "
        f"{_counted(found['processes'], 'process')}, {_counted(found['inputs'], 'input')}, "
        f"against {found['url']}"
        + ("" if found["pinned"] is None else f", all pinned to version {found['pinned']}")
    )
    stopped = ("It was stopped before its end.",) if found["is_interrupted"] else ()
    sections = [
        Section("Thresholds", tuple(verdicts) or ("None were set.",)),
        Section("All requests", tuple(summary(found))),
        Section(RATES),
        Section(LATENCY),
        Section(
            "By version",
            columns=tuple(name.rstrip(">") for name in COLUMNS),
            rows=tuple(rows(found)),
            empty="No version answered.",
        ),
    ]
    if changes:
        sections.append(
            Section(
                "Compared with the earlier run",
                columns=tuple(name.rstrip(">") for name in CHANGE_COLUMNS),
                rows=tuple(change_rows(changes)),
            )
        )
    if found["warnings"]:
        sections.insert(0, Section("Read this first", tuple(found["warnings"])))
    title = f"Load test of {found['model']}, {when}"
    about = (scenario["description"],) if scenario.get("description") else ()
    return Page(title, (*about, asked, *stopped), tuple(sections))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count:,} {what}{'es' if what.endswith('s') else 's'}"


def _score(row: Mapping[str, Any]) -> str:
    if row["accuracy"] is not None:
        return f"{row['accuracy']:.1%} right"
    return "" if row["mae"] is None else f"{row['mae']:.4g} off"


def _value(what: str, value: float) -> str:
    return f"{value:.3%}" if what in ("error_rate", "accuracy") else f"{value:.4g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
