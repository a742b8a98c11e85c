"""One model: its traffic as it flows, how each version does, and everything that changes its route."""

import time
from typing import Any

from nicegui import ui

from gateway.console import meter
from gateway.console.api import path_of
from gateway.console.flow import Flow, Row
from gateway.console.look import frame
from gateway.console.pages.history import show_history
from gateway.console.pages.naming import show_following
from gateway.console.pages.steer import Steering
from gateway.console.pieces import (
    Moment,
    Section,
    badge,
    button,
    card,
    command_line,
    empty,
    heading,
    link,
    say,
    sentence,
    set_command,
    text,
)
from gateway.console.place import Place, Watch, session_of_page
from gateway.console.words import command, match_words, pool_words

WINDOWS = {300: "5 minutes", 3600: "1 hour", 86_400: "1 day"}
_WORDS = {300: "5m", 3600: "1h", 86_400: "1d"}
_EVERY_S = {300: 2.0, 3600: 3.0, 86_400: 30.0}  # a day of evidence takes a tenth of a second to add up


def install(place: Place) -> None:
    @ui.page("/models/{model}")
    async def show(model: str) -> None:
        await _Model(Watch(place, session_of_page()), model).build()


class _Model:
    def __init__(self, watch: Watch, model: str) -> None:
        self._watch, self._model = watch, model
        self._route_path = path_of("routes", model)
        self._traffic_path = path_of("models", model, "traffic")
        self._model_path = path_of("models", model)
        self._scores_path = path_of("models", model, "compare")
        self._meter = meter.Meter()
        self._since_s = 3600
        self._flow: Flow | None = None
        self._controls: Steering | None = None
        self._newest: dict[str, Any] = {}

    async def build(self) -> None:
        paths = (self._model_path, self._route_path, self._traffic_path, f"{self._route_path}/history")
        every_s = _EVERY_S[self._since_s]
        self._watch.want(self._scores_path, every_s=every_s, since_s=self._since_s)  # no page waits for it
        await self._watch.first_of(dict.fromkeys(paths, 1.0))
        with frame(self._model, "/") as self._banner:
            self._title()
            self._problems = Section(_problems)
            self._rollout = Section(_draw_rollout)
            self._following = Section(self._draw_following)
            with card("Traffic now"):
                self._picture = Section(self._draw_flow)
                with ui.element("div").classes("head soft"):
                    text("Requests a second are of the last seconds; the rest is of the last")
                    ui.toggle(WINDOWS, value=self._since_s, on_change=self._choose).props(
                        'no-caps dense unelevated aria-label="Time of the numbers"'
                    )
                self._line = command_line(self._command())
            self._done = text("", "told", "p").props('role="status"')
            self._outdated = Section(self._draw_outdated)
            self._steering = Section(self._draw_steering)
            self._history = Section(
                lambda entries: show_history(self._watch, self._model, entries, self._changed)
            )
        self.update()
        ui.timer(1.0, self.update)

    def update(self) -> None:
        route = self._watch.want(self._route_path)
        model = self._watch.want(self._model_path)
        scores = self._watch.want(self._scores_path, every_s=_EVERY_S[self._since_s], since_s=self._since_s)
        now = self._watch.want(self._traffic_path)
        history = self._watch.want(f"{self._route_path}/history")
        self._banner.show(route, model, scores)
        if all(topic.data is None and topic.error is None for topic in (model, route)):
            return
        has_route = route.data is not None and (route.error is None or route.error.code != "no_route")
        document = route.data if has_route else None
        mine = _pools(model.data)
        self._problems.show(_wrong(document))
        self._following.show(None if document is None else document["following"])
        self._rollout.show(_live_rollout(self._watch.want("/rollouts", every_s=2.0).data, self._model))
        self._said.show(
            None
            if document is None
            else {name: document[name] for name in ("revision", "author", "at_ms", "reason")}
        )
        self._picture.show(_rows(document, mine))
        self._steer(_steerable(document, mine))
        self._history.show(history.data["history"] if history.data else None)
        if self._flow is not None and now.data is not None:
            rates = self._meter.read(now.data, now.known_at_s or time.time())
            found = {
                (row["role"], row["version"]): row for row in (scores.data or {"versions": []})["versions"]
            }
            self._flow.update(rates, meter.total(rates), found)

    def _title(self) -> None:
        with ui.element("div").classes("head"):
            heading(self._model, 1)
            self._said = Section(_last_change)
            ui.element("span").classes("grow")
            link("Compare versions", path_of("models", self._model, "compare"))
            link("Rollout", path_of("models", self._model, "rollout"))
            link("Versions", f"/versions?model={self._model}")

    def _choose(self, event: Any) -> None:
        self._since_s = int(event.value)
        set_command(self._line, self._command())
        self.update()

    def _command(self) -> str:
        return command("compare", self._model, "--since", _WORDS[self._since_s])

    def _changed(self, how: str) -> None:
        self._controls = None  # what was edited is committed
        say(self._done, how)
        for path in (self._route_path, f"{self._route_path}/history"):
            self._watch.want(path).hurry()

    def _draw_following(self, following: Any) -> None:
        if following is not None:
            with ui.element("div").classes("stack").props('role="status"'):
                show_following(self._model, following)

    def _draw_flow(self, found: tuple[tuple[Row, ...], tuple[str, ...]]) -> None:
        rows, versions = found
        self._flow = Flow(rows, versions) if rows else None
        if not rows:
            empty(
                f"{self._model} has no route, so no version answers.",
                "Send all requests to one version to begin with.",
                command("route", "split", self._model, f"{versions[0] if versions else 'VERSION'}=100"),
            )

    def _draw_steering(self, found: dict[str, Any]) -> None:
        self._outdated.show(None)
        self._controls = Steering(self._watch, self._model, found, self._changed)
        self._controls.build()

    def _steer(self, found: dict[str, Any]) -> None:
        """New controls for a new route; but what somebody is just editing is not taken away."""
        self._newest = found
        if self._controls is None or not self._controls.is_edited:
            self._steering.show(found)
        elif found != self._steering.shown:
            self._outdated.show((found["revision"], found["author"]))

    def _draw_outdated(self, what: tuple[int, str] | None) -> None:
        if what is None:
            return
        with ui.element("div").classes("warning row-of").props('role="status"'):
            text(f"{what[1]} changed this route meanwhile, in revision {what[0]}; your numbers are kept.")
            button("Take the new ones", lambda: self._steering.show(self._newest), "quiet")


def _pools(model: Any) -> dict[str, Any]:
    """Of each registered version."""
    found = {}
    for version in () if model is None else model["versions"]:
        pool = version["pool"]
        is_short = pool["wanted"] is not None and pool["ready"] < pool["wanted"]
        found[version["version"]] = {**pool, "is_short": is_short}
    return found


def _live_rollout(found: Any, model: str) -> Any:
    """The one that moves this model's traffic now."""
    rollouts = () if found is None else found["rollouts"]
    return next((item for item in rollouts if item["model"] == model and not item["is_over"]), None)


def _draw_rollout(rollout: Any) -> None:
    if rollout is None or "problem" in rollout:
        return
    with ui.element("div").classes("warning row-of").props('role="status"'):
        text(
            f"A rollout to version {rollout['candidate']} is {rollout['phase']}, "
            f"step {rollout['step'] + 1} of {rollout['steps']}. A change by hand pauses it."
        )
        link("Look at it", path_of("models", rollout["model"], "rollout"))


def _rows(route: Any, pools: dict[str, Any]) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    document = route["document"] if route is not None and not route["problems"] else {}
    found = [
        _row(entry["version"], "primary", entry["weight"], pools)
        for entry in document.get("split", ())
        if entry["weight"] > 0 or entry["version"] in pools
    ]
    found += [
        _row(shadow["version"], "shadow", shadow.get("percent", 100), pools)
        for shadow in document.get("shadows", ())
    ]
    return tuple(found), tuple(pools)


def _row(version: str, role: str, share: float, pools: dict[str, Any]) -> Row:
    pool = pools.get(version)
    return Row(version, role, share, pool_words(pool), bool(pool and pool["ready"] and not pool["is_short"]))


def _steerable(route: Any, pools: dict[str, Any]) -> dict[str, Any]:
    """What the controls show; they are drawn anew when it changes."""
    document = route["document"] if route is not None and not route["problems"] else {}
    return {
        "revision": route["revision"] if route is not None else 0,
        "author": route["author"] if route is not None else "",
        "versions": list(pools),
        "split": {entry["version"]: entry["weight"] for entry in document.get("split", ())},
        "shadows": {shadow["version"]: shadow.get("percent", 100) for shadow in document.get("shadows", ())},
        "slots": document.get("slots"),
        "rules": [
            f"{rule['name']}: {match_words(rule['match'])} → "
            + ", ".join(f"{part['version']} {part['weight']:.6g} %" for part in rule["split"])
            for rule in document.get("rules", ())
        ],
        "sticky": document.get("sticky"),
        "fallback": document.get("fallback"),
    }


def _wrong(route: Any) -> tuple[Any, ...]:
    if route is None:
        return ()
    behind = [gateway for gateway in route["gateways"] if not gateway["serves_this"]]
    told = [*route["problems"]]
    told += [f"gateway {item['address']} is still at revision {item['revision']}" for item in behind]
    if not route["gateways"]:
        told.append("no gateway is running: nobody can ask this model")
    return tuple(told)


def _problems(problems: tuple[str, ...]) -> None:
    if problems:
        with card("What needs you", "problems"), ui.element("ul").classes("list"):
            for problem in problems:
                sentence(problem, "", "li")


def _last_change(route: Any) -> None:
    if route is None:
        badge("no route", "warn")
        return
    with ui.element("span").classes("soft"):
        text(f"revision {route['revision']} by {route['author']}, ")
        Moment(route["at_ms"], age=True)
        if route["reason"]:
            text(f" – {route['reason']}")
