"""`turnout compare`: versions side by side, with how sure each number is."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gateway.cli.grammar import reading
from gateway.cli.session import Session, operator
from gateway.cli.words import duration, moment, parse_since

POINTS = 200  # in a picture
_METRICS = ("accuracy", "mae", "rmse", "reward")


@click.command()
@click.argument("model")
@click.argument("versions", nargs=-1, metavar="[VERSION]...")
@click.option("--since", default="1d", show_default=True, metavar="TIME", help="How far back: 15m, 1h, 2d.")
@click.option(
    "--disagreements",
    is_flag=True,
    help="Requests where shadow VERSION differed most from primary VERSION: give both.",
)
@click.option(
    "--download", metavar="FILE", type=click.Path(dir_okay=False), help="... as NDJSON, with bodies if kept."
)
@click.option("--confusion", is_flag=True, help="What each VERSION took for what: labels against answers.")
@click.option("--slices", is_flag=True, help="Apart for each value of the headers in `record.slices`.")
@click.option(
    "--margin",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SIZE",
    help="Ask whether a version is not worse by more than SIZE: 0.01 is one point of accuracy.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw accuracy over time with its confidence sequence (PNG or SVG by suffix).",
)
@reading
@operator
def compare(
    session: Session,
    model: str,
    versions: tuple[str, ...],
    since: str,
    margin: float,
    disagreements: bool,
    download: str | None,
    confusion: bool,
    slices: bool,
    plot: Path | None,
) -> int:
    """Versions side by side; the first VERSION is what the others are compared with.

    An interval such as [0.95 0.98] holds however often you look.
    """
    if disagreements or download:
        return _disagreements(session, model, versions, download)
    if confusion:
        return _confusion(session, model, versions, since)
    if slices:
        return _slices(session, model, versions, since)
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
    if sum(row["role"] == "primary" for row in scored) > 1:
        out.advise(
            ("earlier:", f"turnout route history {model}"), ("undo last:", f"turnout route rollback {model}")
        )
    if plot is not None:
        _plot(session, model, versions, since, plot)
    return 0


def _disagreements(session: Session, model: str, versions: tuple[str, ...], download: str | None) -> int:
    if len(versions) != 2:
        raise click.UsageError("give primary and shadow: turnout compare digits 1 3 --disagreements")
    primary, shadow = versions
    found = session.client.get("models", model, "disagreements", primary=primary, shadow=shadow)
    session.out.value(found)
    if download is not None:
        lines = [json.dumps(item, ensure_ascii=False) for item in found["disagreements"]]
        Path(download).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        session.out.line(f"{len(lines)} requests written to {download}")
        return 0
    session.out.table(
        ("when", "prediction", f"primary {primary}", f"shadow {shadow}", "apart>"),
        [
            (
                moment(item["at_ms"]),
                item["prediction_id"],
                json.dumps(item["primary"]),
                json.dumps(item["shadow"]),
                "" if item["apart"] is None else f"{item['apart']:.3g}",
            )
            for item in found["disagreements"]
        ],
        empty=f"shadow {shadow} has not differed from {primary} so far",
    )
    return 0


def _slices(session: Session, model: str, versions: tuple[str, ...], since: str) -> int:
    found = session.client.get("models", model, "slices", since_s=parse_since(since))
    session.out.value(found)
    rows = [
        (part, row)
        for part in found["slices"]
        for row in part["versions"]
        if (row["requests"] or row["labels"]) and (not versions or row["version"] in versions)
    ]
    columns = [column for column in _columns([row for _, row in rows]) if column[0] != "p50/p99 ms>"]
    session.out.table(
        ["header", "value", *(name for name, _ in columns)],
        [[part["header"], part["value"], *(tell(row) for _, tell in columns)] for part, row in rows],
        empty=f"no slices of {model} in the last {since}: name headers in `record.slices` of its route",
    )
    for part in found["worse"]:
        session.out.line(
            f"{part['version']} is worse than {part['than']} where {part['header']} = {part['value']}"
        )
    return 0


def _confusion(session: Session, model: str, versions: tuple[str, ...], since: str) -> int:
    found = session.client.get("models", model, "confusion", since_s=parse_since(since))
    session.out.value(found)
    shown = [item for item in found["confusion"] if not versions or item["version"] in versions]
    for item in shown:
        session.out.line(f"version {item['version']} ({item['role']}): a row is a label, a column an answer")
        session.out.table(
            ["", *(f"{name}>" for name in item["classes"])],
            [[name, *row] for name, row in zip(item["classes"], item["rows"], strict=True)],
        )
    if not shown:
        session.out.line(f"no labels of classes for {model} in the last {since}")
    return 0


def _plot(session: Session, model: str, versions: tuple[str, ...], since: str, file: Path) -> None:
    from gateway.cli.plots import plot_series

    since_s = parse_since(since)
    found = session.client.get(
        "models", model, "series", since_s=since_s, step_s=max(60, since_s // POINTS // 60 * 60)
    )
    series = [line for line in found["series"] if not versions or line["version"] in versions]
    plot_series(model, series, file)
    session.out.line(f"drawn into {file}")


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
    if any(row["label_age"] for row in rows):
        columns.append(("after>", lambda row: _age(row["label_age"])))
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


def _age(age: Mapping[str, Any] | None) -> str:
    """How long after the prediction half of the labels, and 90 % of them, had come."""
    return "" if age is None else f"{duration(age['median_s'])}/{duration(age['p90_s'])}"


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
