"""The list of all models on the overview: one element, drawn in the browser.

Of fifty models as elements of their own every page would take half a second to build, and every change of one
would send all again. Here a change of a route sends the rows, and a second of traffic only the numbers that
are others than before. `row_of` is pure. Called by the overview.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui.element import Element

from gateway.console.api import path_of
from gateway.console.pieces import colour
from gateway.console.words import command, percent, rate, weight

MANY_FAIL = 0.01  # of the requests
MANY = 4  # versions; more are counted, not named
# percent of the bar that the version needs, then its share as well; on phones both
LEGIBLE, LEGIBLE_SHARE, LEGIBLE_ON_PHONES = 8.0, 14.0, 20.0


class ModelRows(Element, component="models.js"):
    def __init__(self) -> None:
        super().__init__()
        self._props["rows"] = []
        self._props["numbers"] = {}

    def show(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if self._props["rows"] != rows:
            self._props["rows"] = rows
            self.update()

    def say(self, numbers: Mapping[str, Mapping[str, str]]) -> None:
        """`numbers`: of each model, from `told`."""
        known = self._props["numbers"]
        changed = {model: told for model, told in numbers.items() if known.get(model) != told}
        if changed:
            self._props["numbers"] = {**known, **changed}
            if self.client.has_socket_connection:
                self.run_method("say", changed)


def told(per_s: float, failed: float | None) -> dict[str, str]:
    """The words for a model's traffic."""
    if not failed:
        return {"rate": rate(per_s)}
    kind = "bad" if failed > MANY_FAIL else "warn"
    return {"rate": rate(per_s), "failed": f"{percent(failed)} fail", "kind": kind}


def row_of(model: str, route: Mapping[str, Any] | None, pools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is shown of a model but its traffic; `ills` is what is wrong."""
    is_readable = route is not None and not route["problems"]
    document = route["document"] if route is not None and is_readable else {}
    versions = [pool["version"] for pool in pools]
    split = document.get("split", [])
    ills = [
        f"{pool['version']}: {pool['ready']} of {pool['wanted']} workers"
        for pool in pools
        if pool["is_short"]
    ]
    if idle := _without_workers(split, pools):
        ills.append(f"no worker: {', '.join(idle) if len(idle) <= MANY else f'{len(idle)} versions'}")
    return {
        "model": model,
        "to": f"/console{path_of('models', model)}",
        "split": [_part(entry, versions) for entry in split if entry["weight"] > 0],
        "words": ", ".join(f"version {entry['version']} {weight(entry['weight'])}" for entry in split),
        "none": "" if route is not None else f"no route yet: {_first_route(model, versions)}",
        "ills": ills if route is None or is_readable else ["its route cannot be read", *ills],
        "workers": f"{sum(pool['ready'] for pool in pools)} of "
        f"{sum(pool['wanted'] or 0 for pool in pools)} workers",
        "also": _also(document, route),
    }


def _first_route(model: str, versions: Sequence[str]) -> str:
    return command("route", "split", model, f"{versions[0] if versions else 'VERSION'}=100")


def _without_workers(split: Sequence[Mapping[str, Any]], pools: Sequence[Mapping[str, Any]]) -> list[str]:
    """Versions that are to answer but have no worker, nor shall have one."""
    told = {pool["version"] for pool in pools if pool["ready"] or pool["is_short"]}
    return [entry["version"] for entry in split if entry["weight"] > 0 and entry["version"] not in told]


def _part(entry: Mapping[str, Any], versions: Sequence[str]) -> dict[str, Any]:
    version, share = entry["version"], entry["weight"]
    whole = f"{version} · {weight(share)}" if share >= LEGIBLE_SHARE else version
    shown = whole if share >= LEGIBLE else ""
    kind = colour(versions, version) + (" tight" if share < LEGIBLE_ON_PHONES else "")
    return {"version": version, "weight": share, "kind": kind, "shown": shown}


def _also(document: Mapping[str, Any], route: Mapping[str, Any] | None) -> str:
    shadows = ", ".join(shadow["version"] for shadow in document.get("shadows", ()))
    rules = len(document.get("rules", ()))
    follow = document.get("follow")
    told_of = [f"follows {follow['alias']}"] if follow else []
    told_of += [f"shadow {shadows}"] if shadows else []
    told_of += [f"{rules} rule{'s' if rules > 1 else ''}"] if rules else []
    return " · ".join([*told_of, *([f"revision {route['revision']}"] if route is not None else [])])
