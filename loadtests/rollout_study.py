"""How often do rollouts promote what is bad, and send back what is good? Simulated, with known truths.

Every template of `config/rollouts` meets every truth many times, decided by the rules that a controller uses;
then gates are looked at all the time where the truth lies exactly on their bound, and false alarms counted.
Writes `docs/rollouts-study.md` and a JSON file.

    python -m loadtests.rollout_study                  # about half an hour of one core
    python -m loadtests.rollout_study --rollouts 5 --alarms 50 --out /tmp/study
"""

import json
import math
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import yaml

from gateway.contract.plan import Gate, Metric, Plan
from gateway.contract.rollout import Outcome, Phase, Progress
from gateway.contract.route import Route
from gateway.core.rollouts.plans import plan_for
from gateway.core.rollouts.rehearse import Rehearsal, rehearse
from loadtests.rollout_page import Alarms, Cell, page
from loadtests.rollout_world import BASELINE, CANDIDATE, KnownWorld, Truth

ROOT = Path(__file__).resolve().parents[1]
MOST_S = 12 * 3600.0
ROUTE = Route.model_validate({"model": "digits", "split": [{"version": BASELINE, "weight": 100}]})
TICKS_S = {"fast": 10.0, "blue-green": 20.0, "demo": 5.0}
TEMPLATES = ("careful", "standard", "fast", "shadow-only", "blue-green", "demo")
TRUTHS = (
    Truth("better", accuracy=(0.95, 0.96)),
    Truth("equal"),
    Truth("5 points worse", accuracy=(0.95, 0.90)),
    Truth("30 points worse", accuracy=(0.95, 0.65)),
    Truth("3 times the latency", latency_ms=(8.0, 24.0)),
    Truth("2 % errors", errors=(0.001, 0.02)),
    Truth("equal, no labels", coverage=0.0),
    Truth("5 points worse, no labels", accuracy=(0.95, 0.90), coverage=0.0),
)


Found = TypeVar("Found", Cell, Alarms)


@click.command()
@click.option("--rollouts", default=100, show_default=True, help="Of each template and truth.")
@click.option("--alarms", default=2000, show_default=True, help="Rollouts for each gate on its bound.")
@click.option("--seed", default=20, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Directory instead of docs and results.")
@click.option("--processes", default=1, show_default=True)
def main(rollouts: int, alarms: int, seed: int, out: Path | None, processes: int) -> None:
    """Study the rules of rollouts on simulated traffic."""
    with ProcessPoolExecutor(processes) as pool:
        alarming = [pool.submit(count_alarms, gate, truth, alarms, seed=seed) for gate, truth in bounds()]
        simulating = [
            pool.submit(simulate, name, truth, rollouts, seed=seed) for name in TEMPLATES for truth in TRUTHS
        ]
        counted = [_said(job.result()) for job in alarming]
        cells = [_said(job.result()) for job in simulating]
    docs = (out or ROOT / "docs") / "rollouts-study.md"
    results = (out or ROOT / "loadtests" / "results") / "rollout-study.json"
    for file in (docs, results):
        file.parent.mkdir(parents=True, exist_ok=True)
    docs.write_text(page(cells, counted, seed=seed))
    found = {"seed": seed, "cells": [asdict(cell) for cell in cells], "alarms": [asdict(a) for a in counted]}
    results.write_text(json.dumps(found, indent=1) + "\n")
    click.echo(f"wrote {docs} and {results}")


def _said(found: Found) -> Found:
    click.echo(str(found))
    return found


def template(name: str) -> Plan:
    text = (ROOT / "config" / "rollouts" / f"{name}.yaml").read_text()
    return plan_for(Plan.model_validate(yaml.safe_load(text)), model="digits", candidate=CANDIDATE)


def simulate(name: str, truth: Truth, times: int, *, seed: int) -> Cell:
    plan = template(name)
    runs = [
        _run(plan, truth, seed=(seed, index), tick_s=TICKS_S.get(name, 60.0), most_s=MOST_S)
        for index in range(times)
    ]
    phases = [run.rollout.phase for run, _ in runs]
    return Cell(
        template=name,
        truth=truth.name,
        beyond=beyond(plan, truth),
        rollouts=times,
        promoted=phases.count(Phase.SUCCEEDED),
        sent_back=phases.count(Phase.ROLLED_BACK),
        undecided=times - phases.count(Phase.SUCCEEDED) - phases.count(Phase.ROLLED_BACK),
        median_s=statistics.median(run.lasted_s for run, _ in runs),
        median_requests=statistics.median(run.requests for run, _ in runs),
        median_units=statistics.median(units for _, units in runs),
    )


def _run(
    plan: Plan,
    truth: Truth,
    *,
    seed: tuple[int, int],
    tick_s: float,
    most_s: float,
    told: Callable[[Progress], None] | None = None,
) -> tuple[Rehearsal, float]:
    world = KnownWorld(truth, np.random.default_rng(seed))
    run = rehearse(plan, route=ROUTE, world=world, tick_s=tick_s, most_s=most_s, told=told)
    return run, world.exposed


def beyond(plan: Plan, truth: Truth) -> tuple[str, ...]:
    """The gates that the truth breaks: a candidate that should not be promoted."""
    gates = [*plan.gates, *(gate for step in plan.steps for gate in step.gates)]
    return tuple(gate.title for gate in gates if _breaks(gate, truth))


def _breaks(gate: Gate, truth: Truth) -> bool:
    match gate.metric:
        case Metric.ACCURACY:
            worse = truth.accuracy[0] - truth.accuracy[1]
        case Metric.ERROR_RATE:
            worse = truth.errors[1] - (truth.errors[0] if gate.margin is not None else 0.0)
        case Metric.LATENCY:
            worse = truth.latency_ms[1] / truth.latency_ms[0]
            if gate.margin is None:
                normal = statistics.NormalDist().inv_cdf(gate.quantile)
                worse = truth.latency_ms[1] * math.exp(truth.spread * normal)
        case _:
            raise ValueError(f"the study knows no truth of {gate.metric}")
    limit = gate.margin if gate.margin is not None else gate.at_most
    assert limit is not None, "no template asks for a least value"
    return worse > limit + 1e-9


def bounds() -> list[tuple[dict[str, Any], Truth]]:
    """Gates, each with a truth that lies exactly on its bound: neither FAIL nor PASS would be right."""
    calm = Truth("on the bound", rate=20.0, label_delay_s=10.0)
    return [
        ({"metric": "accuracy", "margin": 0.02}, replace(calm, accuracy=(0.95, 0.93))),
        ({"metric": "error_rate", "margin": 0.01}, replace(calm, errors=(0.01, 0.02))),
        ({"metric": "error_rate", "at_most": 0.02}, replace(calm, errors=(0.01, 0.02))),
        ({"metric": "latency", "quantile": 0.9, "margin": 2}, replace(calm, latency_ms=(8.0, 16.0))),
    ]


def count_alarms(gate: dict[str, Any], truth: Truth, times: int, *, seed: int) -> Alarms:
    """Three steps of 400 s, looked at every ten seconds; nothing but a FAIL can end them."""
    hold = {"min_s": 400}
    steps = [
        {"shadow": 100, "hold": hold},
        {"weight": 25, "shadow": 100, "hold": hold},
        {"weight": 50, "hold": hold},
    ]
    plan = Plan.model_validate(
        {"model": "digits", "candidate": CANDIDATE, "steps": steps, "gates": [{**gate, "blocks": False}]}
    )
    fails = passes = looks = 0
    for index in range(times):
        seen: set[Outcome] = set()

        def told(progress: Progress, seen: set[Outcome] = seen) -> None:
            seen.update(verdict.outcome for verdict in progress.verdicts)

        run, _ = _run(plan, truth, seed=(seed, index), tick_s=10.0, most_s=MOST_S, told=told)
        fails += run.rollout.phase is Phase.ROLLED_BACK
        passes += Outcome.PASS in seen
        looks = max(looks, round(run.lasted_s / 10))
    bound = f"margin {gate['margin']:g}" if "margin" in gate else f"at most {gate['at_most']:g}"
    return Alarms(
        gate=f"{plan.gates[0].title}, {bound}",
        allowed=round(1 - plan.gates[0].confidence, 6),
        rollouts=times,
        looks=looks,
        fails=fails,
        fails_at_most=at_most(fails, times),
        passes=passes,
        passes_at_most=at_most(passes, times),
    )


def at_most(k: int, n: int, *, confidence: float = 0.95) -> float:
    """The exact upper end of a binomial share (Clopper and Pearson 1934)."""
    if k >= n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if _chance_of_at_most(k, n, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _chance_of_at_most(k: int, n: int, share: float) -> float:
    if share <= 0 or share >= 1:
        return 1.0 if share <= 0 else 0.0
    logs = (
        math.lgamma(n + 1)
        - math.lgamma(i + 1)
        - math.lgamma(n - i + 1)
        + i * math.log(share)
        + (n - i) * math.log1p(-share)
        for i in range(k + 1)
    )
    return math.fsum(map(math.exp, logs))


if __name__ == "__main__":
    main()
