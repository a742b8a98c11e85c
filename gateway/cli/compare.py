"""`turnout compare`: versions side by side, with how sure each number is."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from gateway.cli.session import Session, operator
from gateway.cli.words import parse_since

_METRICS = ("accuracy", "mae", "rmse", "reward")


@click.command()
@click.argument("model")
@click.argument("versions", nargs=-1, metavar="[VERSION]...")
@click.option("--since", default="1d", show_default=True, metavar="TIME", help="How far back: 15m, 1h, 2d.")
@click.option(
    "--margin",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SIZE",
    help="Ask whether a version is not worse by more than SIZE: 0.01 is one point of accuracy.",
)
@operator
def compare(session: Session, model: str, versions: tuple[str, ...], since: str, margin: float) -> int:
    """Versions side by side; the first VERSION is what the others are compared with.

    An interval such as [0.95 0.98] holds however often you look.
    """
    found = session.client.get(
        "models",
        model,
        "compare",
        since_s=parse_since(since),
        versions=",".join(versions) or None,
        margin=margin or None,
    )
    out = session.out
    out.value(found)
    scored = [row for row in found["versions"] if row["requests"] or row["labels"]]
    columns = _columns(scored)
    out.table(
        [name for name, _ in columns],
        [[tell(row) for _, tell in columns] for row in scored],
        empty=f"nothing is known yet about {model} in the last {since}: send it requests",
    )
    _agreements(session, found["agreements"])
    for verdict in found["verdicts"]:
        out.line(verdict["sentence"])
    return 0


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """The usual columns, then each metric that some version has."""
    columns: list[tuple[str, Any]] = [
        ("version", lambda row: row["version"]),
        ("role", lambda row: row["role"]),
        ("requests>", lambda row: row["requests"]),
        ("errors>", lambda row: _errors(row)),
        ("p50/p99 ms>", lambda row: _latency(row["latency"])),
        ("labels>", lambda row: _labels(row)),
    ]
    metrics = [name for name in _METRICS if any(row[name] is not None for row in rows)]
    return columns + [(name, lambda row, name=name: _score(name, row[name])) for name in metrics]


def _errors(row: Mapping[str, Any]) -> str:
    return " ".join(f"{code} {count}" for code, count in row["errors"].items()) or "0"


def _latency(latency: Mapping[str, Any] | None) -> str:
    if latency is None:
        return ""
    return "/".join(f"{latency[quantile]['value'] / 1000:.3g}" for quantile in ("p50_us", "p99_us"))


def _labels(row: Mapping[str, Any]) -> str:
    """How many predictions have one, and the share of the recorded ones."""
    return str(row["labels"]) + ("" if row["coverage"] is None else f" ({row['coverage']:.0%})")


def _score(metric: str, estimate: Mapping[str, Any] | None) -> str:
    return _percent(estimate) if metric == "accuracy" else _estimate(estimate)


def _percent(estimate: Mapping[str, Any] | None) -> str:
    """`84.6% [79.1 89.3]`."""
    if estimate is None:
        return ""
    return f"{estimate['value']:.1%} [{100 * estimate['low']:.1f} {100 * estimate['high']:.1f}]"


def _estimate(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return ""
    low, high = (_number(estimate[end], beyond) for end, beyond in (("low", "-inf"), ("high", "inf")))
    return f"{_number(estimate['value'], '?')} [{low} {high}]"


def _number(value: float | None, beyond: str) -> str:
    return beyond if value is None else f"{value:.4g}"


def _agreements(session: Session, agreements: Sequence[Mapping[str, Any]]) -> None:
    for pair in agreements:
        apart = pair["mean_difference"]
        session.out.line(
            f"shadow {pair['shadow']} gave the same answer as {pair['primary']} in "
            f"{_percent(pair['share'])} of {pair['rows']} rows"
            + (f", on average {_estimate(apart)} apart" if apart else "")
        )
