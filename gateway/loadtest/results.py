"""The result of a load test for people and machines, made of what the driver counted.

Pure: plain values for JSON, in milliseconds and shares. Called by the command; read again by `earlier`.
"""

from collections import Counter
from typing import Any

from gateway.loadtest.histogram import Histogram
from gateway.loadtest.scenario import Run
from gateway.loadtest.schedule import Phase, arrivals, total_s
from gateway.loadtest.tally import NO_VERSION, Tally, VersionTally

FORMAT = 1
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
BUSY_SHARE = 0.8  # of a core: from here on the driver's own delays are in what it measures
LAG_MS = 10.0
RATE_OFF = 0.01


def result(run: Run, tally: Tally, *, at_ms: int, interrupted: bool, problems: list[str]) -> dict[str, Any]:
    """Everything of one run. `problems` are of the driver itself: a process that was lost, for instance."""
    is_open = run.scenario.loop == "open"
    planned_s = total_s(run.phases)
    seconds = min(planned_s, max(tally.seconds.values(), default=0.0)) if interrupted else planned_s
    intended = _intended(run, seconds) if is_open else None
    everything = _sum_of(tally)
    is_even = run.scenario.arrivals == "even"  # of chance arrivals only the expected number is known
    driver = _driver(tally, intended if is_even and not interrupted else None)
    return {
        "turnout_loadtest": FORMAT,
        "at_ms": at_ms,
        "url": run.url,
        "model": run.model,
        "pinned": run.version,
        "scenario": run.scenario.model_dump(mode="json", by_alias=True, exclude_none=True),
        "scale": run.scale,
        "processes": run.processes,
        "inputs": len(run.inputs),
        "is_interrupted": interrupted,
        "seconds": round(seconds, 3),
        **_amounts(tally, intended, seconds),
        "error_rate": _share(tally.failed + tally.unsent, tally.sent + tally.unsent),
        "errors": dict(sum((found.errors for found in tally.versions.values()), Counter[str]())),
        **_latencies(everything, is_open=is_open, think_s=run.scenario.think_s),
        **_scores(everything),
        "versions": [
            _of_version(run, version, found, answered=tally.answered)
            for version, found in sorted(tally.versions.items(), key=lambda item: _natural(item[0]))
            if version != NO_VERSION
        ],
        "labels": {
            **everything.labels,
            **({"left out": tally.labels_left_out} if tally.labels_left_out else {}),
        },
        "driver": driver,
        "series": _series(run.phases, tally, run.step_s, is_open=is_open),
        "warnings": [*problems, *_nobody(run, tally), *_warnings(driver, tally, is_open=is_open)],
    }


def _amounts(tally: Tally, intended: int | None, seconds: float) -> dict[str, Any]:
    return {
        "requests": {
            "intended": intended,
            "sent": tally.sent,
            "answered": tally.answered,
            "failed": tally.failed,
            "unsent": tally.unsent,
            "blocked": tally.blocked,
        },
        "rate": {
            "intended": _per_second(intended, seconds),
            "sent": _per_second(tally.sent, seconds),
            "answered": _per_second(tally.answered, max(seconds, tally.last_s)),
        },
    }


def _of_version(run: Run, version: str, found: VersionTally, *, answered: int) -> dict[str, Any]:
    is_open = run.scenario.loop == "open"
    return {
        "version": version,
        "requests": found.response.n,
        "share": _share(found.response.n, answered),
        "errors": dict(found.errors),
        "error_rate": _share(found.errors.total(), found.response.n + found.errors.total()),
        **_latencies(found, is_open=is_open, think_s=run.scenario.think_s),
        **_scores(found),
        "labels": dict(found.labels),
    }


def _sum_of(tally: Tally) -> VersionTally:
    everything = VersionTally()
    for found in tally.versions.values():
        everything.merge(found)
    return everything


def _intended(run: Run, seconds: float) -> int:
    """Requests that were due; of chance arrivals the expected number."""
    if run.scenario.arrivals == "poisson":
        return round(sum(_area_until(run.phases, seconds)))
    return sum(due_s < seconds for due_s in arrivals(run.phases))


def _area_until(phases: list[Phase], seconds: float) -> list[float]:
    found, begun_s = [], 0.0
    for phase in phases:
        length_s = min(phase.for_s, max(0.0, seconds - begun_s))
        found.append((phase.start + phase.level(length_s)) / 2 * length_s)
        begun_s += phase.for_s
    return found


def _latencies(found: VersionTally, *, is_open: bool, think_s: float) -> dict[str, Any]:
    """`latency_ms` is corrected for coordinated omission, `service_ms` is as it was measured from sending."""
    if is_open:
        corrected = found.response
    else:
        usual_us = found.service.quantile(0.5) or 0.0
        corrected = found.service.corrected(1e6 * think_s + usual_us)
    return {
        "latency_ms": _quantiles(corrected, found.response.n),
        "service_ms": _quantiles(found.service, None),
    }


def _quantiles(histogram: Histogram, measured: int | None) -> dict[str, Any] | None:
    if not histogram.n:
        return None
    found: dict[str, Any] = {name: _ms(histogram.quantile(share)) for name, share in QUANTILES.items()}
    found |= {"mean": _ms(histogram.mean_us), "max": _ms(histogram.max_us)}
    if measured is not None:
        found["between"] = {name: _between(histogram, share) for name, share in QUANTILES.items()}
    return found


def _between(histogram: Histogram, share: float) -> list[float | None]:
    ends = histogram.interval(share)
    return [] if ends is None else [_ms(end) for end in ends]


def _scores(found: VersionTally) -> dict[str, Any]:
    classes = found.scored - found.measured
    return {
        "scored": found.scored,
        "accuracy": found.right / classes if classes else None,
        "mae": found.error_sum / found.measured if found.measured else None,
    }


def _driver(tally: Tally, intended: int | None) -> dict[str, Any]:
    shares = [tally.cpu_s[index] / tally.seconds[index] for index in tally.cpu_s if tally.seconds.get(index)]
    lag_ms = {name: _ms(tally.lag.quantile(QUANTILES[name])) for name in ("p50", "p99")}
    rate_off = None if not intended else tally.sent / intended - 1
    return {
        "cpu_us_per_request": round(1e6 * sum(tally.cpu_s.values()) / tally.sent, 1) if tally.sent else None,
        "cpu_share_most": round(max(shares, default=0.0), 3),
        "lag_ms": {**lag_ms, "max": _ms(tally.lag.max_us)},
        "rate_off": rate_off,
        "is_bottleneck": max(shares, default=0.0) > BUSY_SHARE or (lag_ms["p99"] or 0.0) > LAG_MS,
    }


def _nobody(run: Run, tally: Tally) -> list[str]:
    errors = _sum_of(tally).errors
    if tally.answered or not (errors["refused"] or errors["404"]):
        return []
    told = "nothing listens" if errors["refused"] else "what listens is no gateway"
    return [f"{told} at {run.url}: --url says where the gateway is"]


def _warnings(driver: dict[str, Any], tally: Tally, *, is_open: bool) -> list[str]:
    found = []
    if driver["cpu_share_most"] > BUSY_SHARE:
        found.append(
            f"the driver was a bottleneck: a process of it used {driver['cpu_share_most']:.0%} of a core, so "
            "its own delays are in these latencies; use more --processes or a lower rate"
        )
    elif (driver["lag_ms"]["p99"] or 0.0) > LAG_MS:
        found.append(
            f"the driver was late: 1 % of the requests left {driver['lag_ms']['p99']:.3g} ms or more after "
            "they were due, though a connection was free; is other work on this machine?"
        )
    if tally.blocked and is_open:
        found.append(
            f"{tally.blocked} requests waited for a connection (max_in_flight), which is in their latency"
        )
    if tally.unsent:
        found.append(f"{tally.unsent} requests were due and never sent: they count as errors")
    elif driver["rate_off"] is not None and abs(driver["rate_off"]) > RATE_OFF:
        found.append(f"the rate was {driver['rate_off']:+.1%} off the one that was asked for")
    return found


def _series(phases: list[Phase], tally: Tally, step_s: float, *, is_open: bool) -> list[dict[str, Any]]:
    due: Counter[int] = Counter()
    if is_open:
        due.update(int(due_s / step_s) for due_s in arrivals(phases))
    return [
        {
            "at_s": number * step_s,
            "intended": due[number] / step_s if is_open else None,
            "sent": step.sent / step_s,
            "failed": step.failed / step_s,
            "p50_ms": _ms(step.response.quantile(0.5)),
            "p99_ms": _ms(step.response.quantile(0.99)),
            "max_ms": _ms(step.response.max_us) if step.response.n else None,
        }
        for number, step in sorted(tally.steps.items())
    ]


def _natural(version: str) -> tuple[int, int, str]:
    return (0, int(version), "") if version.isdecimal() else (1, 0, version)


def _ms(us: float | None) -> float | None:
    return None if us is None else round(us / 1000, 4)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _per_second(count: int | None, seconds: float) -> float | None:
    return None if count is None else (count / seconds if seconds else 0.0)
