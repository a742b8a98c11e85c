"""What was aimed at, and what was reached: one table over the newest results of all sections.

Reads what the sections wrote to `loadtests/results/`, a kept result or a local one, whichever is newer; a
section that was never measured here says so. Called by `scripts/bench` at its end and as `scripts/bench
targets`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loadtests.measure import RESULTS

Summary = Any  # of a section's JSON


@dataclass(frozen=True, slots=True)
class Target:
    """`read` takes the section's `summary`; what it gives must not be above `most`."""

    section: str
    what: str
    most: float
    read: Callable[[Summary], float]
    unit: str = "×"


def beside(scenario: str, system: str) -> Callable[[Summary], float]:
    """Turnout's CPU per request as a multiple of this system's."""
    return lambda summary: _line(summary, scenario, system)["turnout_ratio"]


def _line(summary: Summary, scenario: str, system: str) -> Any:
    return next(line for line in summary if (line["scenario"], line["system"]) == (scenario, system))


def _part(name: str) -> Callable[[Summary], float]:
    return lambda summary: _line(summary, "digits 2", "turnout")["parts_us"][name]


def _slower(scenario: str) -> Callable[[Summary], float]:
    """How many times nginx' throughput is Turnout's."""
    return lambda summary: 1 / _line(summary, scenario, "turnout")["ratio"]


TARGETS = (
    Target("proxy", "gateway CPU per routed request, beside nginx", 1.5, beside("split", "nginx")),
    Target("proxy", "the same beside Envoy", 0.8, beside("split", "envoy")),
    Target("proxy", "the same beside Traefik", 0.5, beside("split", "traefik")),
    Target("shadow", "with a shadow at 100 %, beside nginx mirror", 0.7, beside("shadow 100 %", "nginx")),
    Target("shadow", "the same beside Envoy with a mirror policy", 0.8, beside("shadow 100 %", "envoy")),
    Target(
        "serving", "gateway + worker per prediction, beside MLServer", 0.2, beside("digits 2", "mlserver")
    ),
    Target("serving", "the same beside KServe's server", 0.15, beside("digits 2", "kserve")),
    Target("serving", "the same beside BentoML", 0.06, beside("digits 2", "bentoml")),
    Target("serving", "worker CPU per prediction", 40, _part("worker"), "µs"),
    Target("bodies", "1 MiB requests: nginx' throughput", 1 / 0.7, _slower("request 1 MiB")),
    Target("bodies", "1 MiB replies: nginx' throughput", 1 / 0.7, _slower("reply 1 MiB")),
    Target(
        "bodies",
        "memory that 64 connections with 1 MiB add",
        200,
        lambda summary: _line(summary, "request 1 MiB", "turnout")["rss_growth_mib"],
        "MiB",
    ),
    Target(
        "scale",
        "10,000 models: a decision",
        3,
        lambda summary: summary["inside"]["decision_us_one_of_many"],
        "µs",
    ),
    Target(
        "scale",
        "the same beside one model",
        1.2,
        lambda summary: summary["inside"]["decision_ratio_one_of_many"],
    ),
    Target("scale", "ready after", 5, lambda summary: summary["process_many_models"]["ready_s"], "s"),
    Target(
        "scale",
        "memory a model",
        6,
        lambda summary: summary["process_many_models"]["rss_bytes_a_model"] / 1024,
        "KiB",
    ),
)


def newest(section: str) -> Any:
    """The section's newest JSON, by the time inside; None when there is none."""
    found = [json.loads(path.read_text()) for path in RESULTS.glob(f"{section}-*.json")]
    return max(found, key=lambda told: told["machine"]["at"], default=None)


def main() -> None:
    sections = dict.fromkeys(target.section for target in TARGETS)
    results = {section: newest(section) for section in sections}
    print(f"{'what':<52} {'at most':>8} {'reached':>8}")
    for target in TARGETS:
        told = results[target.section]
        if told is None:
            print(f"{target.what:<52} {target.most:>8.3g} not measured: scripts/bench {target.section}")
            continue
        try:
            seen = target.read(told["summary"])
        except StopIteration:  # measured with --only
            print(f"{target.what:<52} {target.most:>8.3g} left out of the last run")
            continue
        missed = "" if seen <= target.most else "  MISSED"
        print(f"{target.what:<52} {target.most:>8.3g} {seen:>8.3g} {target.unit}{missed}")
    for section in ("protection", "promises"):
        told = newest(section)
        for promise in () if told is None else told["promises"]:
            print(f"{'kept' if promise['kept'] else 'BROKEN'}: {promise['promise']}")


if __name__ == "__main__":
    main()
