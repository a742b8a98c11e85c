"""What `turnout top` shows: an answer of `GET /overview` as tables for a terminal of a given width.

Pure but for the library that draws: no keyboard, no clock, no server. Called by `top`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Model = Mapping[str, Any]
NOTHING = "-"
NARROW = 100  # columns: below it, words are short
BAR = 8
FAILING = 0.01  # share of failed requests from which on a model is shown as ill
_SHORT = {"running": "run", "paused": "pause", "frozen": "FROZEN"}
_FILLS = "█▓▒░"
_COLOURS = ("cyan", "magenta", "yellow", "green", "blue")


@dataclass(frozen=True, slots=True)
class View:
    """What somebody looks at: the order, the chosen model, and whether it is looked at alone."""

    sort: int = 0
    is_reversed: bool = False
    selected: str | None = None
    is_inside: bool = False

    def after(self, key: str, models: Sequence[Model]) -> "View":
        """The view after a key was pressed."""
        names = [model["model"] for model in in_order(models, self)]
        at = names.index(self.selected) if self.selected in names else 0
        match key:
            case "up" | "down" if names and not self.is_inside:
                step = 1 if key == "down" else -1
                return replace(self, selected=names[min(max(at + step, 0), len(names) - 1)])
            case "left" | "right" if not self.is_inside:
                return replace(self, sort=(self.sort + (1 if key == "right" else -1)) % len(COLUMNS))
            case "r":
                return replace(self, is_reversed=not self.is_reversed)
            case "enter" if names:
                return replace(self, is_inside=not self.is_inside, selected=names[at])
            case "escape":
                return replace(self, is_inside=False)
            case _:
                return self


def _error(model: Model) -> float:
    return model["error_share"] or 0.0


def _quantile(model: Model, name: str) -> float:
    return model["latency"][name] if model["latency"] else -1.0


def _best(model: Model) -> Mapping[str, Any] | None:
    """The quality of the version that answers most."""
    rows = [row for row in model["versions"] if row["role"] == "primary"]
    busiest = max(rows, key=lambda row: row["requests"], default=None)
    found: Mapping[str, Any] | None = None if busiest is None else busiest["quality"]
    return found


def _quality(model: Model) -> float:
    best = _best(model)
    return -1.0 if best is None else best["value"]


def _short(model: Model) -> int:
    return sum((pool["wanted"] or 0) - pool["ready"] for pool in model["pools"] if pool["is_short"])


@dataclass(frozen=True, slots=True)
class Column:
    """`by`: what to sort by, the largest first; of names the alphabet's first."""

    title: str
    is_right: bool
    by: Callable[[Model], Any]
    cell: Callable[[Model, bool], Text]


def in_order(models: Sequence[Model], view: View) -> list[Model]:
    column = COLUMNS[view.sort]
    is_name = column.title == "model"
    by_name = sorted(models, key=lambda model: model["model"])
    return sorted(by_name, key=column.by, reverse=view.is_reversed if is_name else not view.is_reversed)


def drawn(seen: Mapping[str, Any], view: View, *, width: int, height: int) -> RenderableType:
    """The whole screen."""
    models = in_order(seen["models"], view)
    chosen = next((model for model in models if model["model"] == view.selected), None)
    if view.is_inside and chosen is not None:
        return one(chosen, width=width)
    return listed(seen, models, view, width=width, height=height)


def listed(
    seen: Mapping[str, Any], models: Sequence[Model], view: View, *, width: int, height: int
) -> RenderableType:
    is_wide = width >= NARROW
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for index, column in enumerate(COLUMNS):
        mark = ("▴" if view.is_reversed else "▾") if index == view.sort else ""
        table.add_column(
            column.title + mark, justify="right" if column.is_right else "left", no_wrap=True, overflow="crop"
        )
    selected = view.selected or (models[0]["model"] if models else None)
    names = [model["model"] for model in models]
    at = names.index(selected) if selected in names else 0
    room = max(1, height - 5)
    first = max(0, min(at - room // 2, len(models) - room))
    for model in models[first : first + room]:
        style = "reverse" if model["model"] == selected else ""
        table.add_row(*(column.cell(model, is_wide) for column in COLUMNS), style=style)
    per_s = sum(model["per_s"] for model in models)
    head = Text(f"{len(models)} models, {_rate(per_s)} requests/s, revision {seen['revision']}", style="bold")
    if seen["left_out"]:
        head.append(f", {seen['left_out']} more are left out")
    keys = Text("q ends  up/down choose  enter opens  left/right sort  r turns the order", style="dim")
    return Group(head, Text(), table if models else Text("no model is registered yet"), Text(), keys)


def one(model: Model, *, width: int) -> RenderableType:
    """A model's own view."""
    parts: list[RenderableType] = [
        Text(f"{model['model']}, revision {model['revision']}, {_rate(model['per_s'])} requests/s", "bold")
    ]
    if not model["is_readable"]:
        parts.append(Text("its route cannot be read: gateways keep the last good form", style="red"))
    parts += [_bar(model, min(40, width - 20)), Text(), _versions(model), Text(), *_failures(model)]
    if model["rollout"] is not None:
        parts.append(_rollout_line(model["rollout"]))
    parts += [Text(), Text("escape goes back  q ends", style="dim")]
    return Group(*parts)


def _versions(model: Model) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for title in ("version", "role", "split", "req/s", "err", "p50", "p99", "quality", "pool"):
        table.add_column(title, justify="left" if title in ("version", "role", "quality") else "right",
            no_wrap=title != "quality")  # fmt: skip
    weights = {entry["version"]: entry["weight"] for entry in model["split"]}
    pools = {pool["version"]: pool for pool in model["pools"]}
    for row in model["versions"]:
        is_primary = row["role"] == "primary"
        table.add_row(
            row["version"],
            row["role"],
            f"{weights[row['version']]:g} %" if is_primary and row["version"] in weights else "",
            _rate(row["per_s"]),
            _share(row["failed"] / row["requests"] if row["requests"] else None),
            _ms(row["latency"], "p50_us"),
            _ms(row["latency"], "p99_us"),
            _interval(row["quality"]),
            _pool(pools.get(row["version"])),
        )
    return table


def _failures(model: Model) -> list[Text]:
    return [
        Text(
            f"{row['version']} failed: " + ", ".join(f"{code} {n}" for code, n in row["errors"].items()),
            "red",
        )
        for row in model["versions"]
        if row["errors"]
    ]


def _rollout_line(rollout: Model) -> Text:
    step = f"step {min(rollout['step'] + 1, rollout['steps'])} of {rollout['steps']}"
    return Text(
        f"rollout {rollout['baseline']} -> {rollout['candidate']}: "
        f"{rollout['phase'].replace('_', ' ')}, {step}. {rollout['sentence']}"
    )


def _bar(model: Model, width: int) -> Text:
    """The split as it was asked for, each version with its own fill."""
    text = Text()
    for index, entry in enumerate(model["split"]):
        cells = max(1, round(entry["weight"] / 100 * width)) if entry["weight"] else 0
        text.append(_FILLS[index % len(_FILLS)] * cells, style=_COLOURS[index % len(_COLOURS)])
    text.truncate(width)
    text.append(" " + "/".join(f"{entry['weight']:.3g}" for entry in model["split"] if entry["weight"]))
    return text


def plain(column: Column, model: Model) -> str:
    """For where there is no terminal: words without the drawn bar."""
    return column.cell(model, True).plain.lstrip(_FILLS + " ")


def _split(model: Model, is_wide: bool) -> Text:
    if not model["is_readable"]:
        return Text("unreadable", style="red")
    if not model["has_route"]:
        return Text("no route", style="dim")
    text = _bar(model, 2 * BAR if is_wide else BAR)
    if not is_wide:
        text.truncate(BAR + 6)
    return text


def _name(model: Model, is_wide: bool) -> Text:
    text = Text(model["model"])
    text.truncate(32 if is_wide else 12, overflow="ellipsis")
    return text


def _quality_cell(model: Model, is_wide: bool) -> Text:
    best = _best(model)
    return Text(_interval(best) if is_wide else _plus_minus(best))


def _rollout(model: Model, is_wide: bool) -> Text:
    rollout = model["rollout"]
    if rollout is None:
        return Text(NOTHING, style="dim")
    phase = rollout["phase"].replace("_", " ")
    style = "red" if rollout["phase"] in ("frozen", "rolled_back") else ""
    if rollout["is_over"]:
        return Text(phase if is_wide else phase[:8], style=style or "dim")
    step = f"{min(rollout['step'] + 1, rollout['steps'])}/{rollout['steps']}"
    return Text(
        f"to {rollout['candidate']} {phase} {step}" if is_wide else f"{_SHORT.get(phase, phase)} {step}",
        style=style,
    )


def _pool_cell(model: Model, is_wide: bool) -> Text:
    style = "red" if _short(model) else ""
    return Text(f"{model['workers_ready']}/{model['workers_wanted']}", style=style)


def _rate(per_s: float) -> str:
    return f"{per_s:.0f}" if per_s >= 100 else f"{per_s:.1f}"


def _share(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.1f}%"


def _ms(latency: Mapping[str, float] | None, name: str) -> str:
    return NOTHING if latency is None else f"{latency[name] / 1000:.3g}ms"


def _interval(quality: Mapping[str, Any] | None) -> str:
    """`97.1% (95.9 to 98.0)`, or `mae 41.2 (38 to 44)`."""
    if quality is None:
        return NOTHING
    factor, form = (100, ".1f") if quality["metric"] == "accuracy" else (1, ".4g")
    low, high = (
        "unbounded" if quality[end] is None else format(factor * quality[end], form)
        for end in ("low", "high")
    )
    value = format(factor * quality["value"], form)
    return (
        f"{value}% ({low} to {high})" if factor == 100 else f"{quality['metric']} {value} ({low} to {high})"
    )


def _plus_minus(quality: Mapping[str, Any] | None) -> str:
    if quality is None:
        return NOTHING
    factor, form = (100, ".1f") if quality["metric"] == "accuracy" else (1, ".3g")
    value = format(factor * quality["value"], form)
    if quality["low"] is None or quality["high"] is None:
        return value
    return f"{value}±{format(factor * (quality['high'] - quality['low']) / 2, form)}"


def _pool(pool: Mapping[str, Any] | None) -> str:
    if pool is None:
        return "0"
    return str(pool["ready"]) if pool["wanted"] is None else f"{pool['ready']}/{pool['wanted']}"


COLUMNS = (
    Column("model", False, lambda model: model["model"], _name),
    Column("req/s", True, lambda model: model["per_s"], lambda model, _: Text(_rate(model["per_s"]))),
    Column("split", False, lambda model: len(model["split"]), _split),
    Column(
        "err", True, _error,
        lambda model, _: Text(_share(model["error_share"]), style="red" if _error(model) > FAILING else ""),
    ),
    Column("p50", True, lambda model: _quantile(model, "p50_us"),
        lambda model, _: Text(_ms(model["latency"], "p50_us"))),
    Column("p99", True, lambda model: _quantile(model, "p99_us"),
        lambda model, _: Text(_ms(model["latency"], "p99_us"))),
    Column("quality", False, _quality, _quality_cell),
    Column("rollout", False, lambda model: model["rollout"] is not None and not model["rollout"]["is_over"],
        _rollout),
    Column("pool", True, _short, _pool_cell),
)  # fmt: skip
