"""How `turnout bench versions` tells what it measured: a table and sentences, JSON, a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.cli.output import Output
from gateway.cli.plots import plot_versions
from gateway.loadtest.agreement import agreements, score_of
from gateway.loadtest.rounds import MEASURES, Slot, middle, ratio, values_of
from gateway.loadtest.scenario import Input


def show(
    out: Output,
    model: str,
    versions: Sequence[str],
    slots: Sequence[Slot],
    answers: Mapping[str, Mapping[int, bytes]],
    inputs: Sequence[Input],
    warnings: list[str],
) -> None:
    baseline = versions[0]
    scores = {version: score_of(answers[version], inputs) for version in versions}
    pairs = agreements(answers)
    ratios = [
        found
        for version in versions[1:]
        for name in MEASURES
        if (found := ratio(slots, name, version=version, baseline=baseline)) is not None
    ]
    rounds = max((slot.round for slot in slots), default=0)
    out.value(
        {
            "model": model,
            "baseline": baseline,
            "rounds": rounds,
            "versions": [
                {
                    "version": version,
                    **{name: middle(slots, name, version) for name in MEASURES},
                    "failed": sum(slot.failed for slot in slots if slot.version == version),
                    **asdict(scores[version]),
                }
                for version in versions
            ],
            "ratios": [{**asdict(found), "is_noise": found.is_noise} for found in ratios],
            "agreements": [asdict(pair) for pair in pairs],
            "slots": [asdict(slot) for slot in slots],
            "warnings": warnings,
        }
    )
    out.line(f"{model}: {rounds} rounds of {slots[0].requests} requests, the median of the rounds")
    out.table(
        ("version", "cpu us>", "p50 ms>", "p99 ms>", "requests/s>", "failed>", "score>"),
        [
            (
                version,
                *(_number(middle(slots, name, version)) for name in ("cpu_us", "p50_ms", "p99_ms")),
                f"{middle(slots, 'per_second', version) or 0:,.0f}",
                sum(slot.failed for slot in slots if slot.version == version),
                _score(scores[version].accuracy, scores[version].error),
            )
            for version in versions
        ],
    )
    for found in ratios:
        out.line(found.sentence)
    for pair in pairs:
        told = (
            f"gave the same answer to {pair.share.value:.1%} "
            f"[{100 * pair.share.low:.1f} {100 * pair.share.high:.1f}] of {pair.share.n} inputs"
            if pair.apart is None
            else f"are {pair.apart:.4g} apart on average, over {pair.share.n} inputs"
        )
        out.line(f"{pair.one} and {pair.other} {told}")
    for warning in warnings:
        out.warning(warning)


def _score(accuracy: Any, error: float | None) -> str:
    if accuracy is not None:
        return f"{accuracy.value:.1%} [{100 * accuracy.low:.1f} {100 * accuracy.high:.1f}] right"
    return "" if error is None else f"{error:.4g} off"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"


def draw(model: str, versions: Sequence[str], slots: Sequence[Slot], file: Path) -> None:
    panels = [
        (words, {version: values_of(slots, name, version) for version in versions})
        for name, words in MEASURES.items()
        if any(values_of(slots, name, version) for version in versions)
    ]
    plot_versions(f"{model}: each round, and the median", panels, file)
