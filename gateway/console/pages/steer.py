"""The controls of a model's route: weights, shadows, cutover. Each shows the command that does the same."""

from collections.abc import Callable
from typing import Any

from nicegui import ui

from gateway.console.api import path_of
from gateway.console.change import Change, edit, propose
from gateway.console.pieces import button, card, command_line, say, set_command, text
from gateway.console.place import Watch
from gateway.console.words import command, split_command

TOLERANCE = 1e-6


class Steering:
    """`found`: the route as it is; the controls are built for its revision and expect it at the commit."""

    def __init__(
        self, watch: Watch, model: str, found: dict[str, Any], changed: Callable[[str], None]
    ) -> None:
        self._watch, self._model, self._found, self._changed = watch, model, found, changed
        self._weights: dict[str, float] = {}
        self._shadows: dict[str, float] = {}
        self._numbers: dict[str, ui.number] = {}
        self._moved = ""  # the version whose weight was touched last

    @property
    def is_edited(self) -> bool:
        """Somebody has moved something that is not committed."""
        split, shadows = self._found["split"], self._found["shadows"]
        return any(value != split.get(name, 0) for name, value in self._weights.items()) or any(
            value != shadows.get(name, 0) for name, value in self._shadows.items()
        )

    def build(self) -> None:
        if not self._found["versions"]:
            return
        has_route = bool(self._found["split"])
        with ui.element("div").classes("columns"):
            with ui.element("div").classes("stack"):
                with card("Who answers"):
                    self._split()
                if has_route:
                    with card("Cutover"):
                        self._cutover()
            if has_route:
                with ui.element("div").classes("stack"):
                    with card("Copies to shadows"):
                        self._copies()
                    self._rest()

    def _split(self) -> None:
        split = self._found["split"]
        self._weights = {version: float(split.get(version, 0)) for version in _ordered(self._found)}
        self._numbers = self._sliders(self._weights, "answers", self._took_weight)
        with ui.element("div").classes("row-of"):
            self._preview = button("Show what changes", self._propose_split)
            self._sum = text("", "soft").props('role="status"')
            self._rest_to = button("", self._give_the_rest, "quiet")
        self._line = command_line("")
        self._show_sum()

    def _sliders(
        self, values: dict[str, float], what: str, changed: Callable[[str], None]
    ) -> dict[str, ui.number]:
        found = {}
        for version in values:
            with ui.element("div").classes("weight"):
                found[version] = self._slider(version, values, what, changed)
        return found

    @staticmethod
    def _slider(
        version: str, values: dict[str, float], what: str, changed: Callable[[str], None]
    ) -> ui.number:
        """A slider and a number that follow each other; the number is given."""

        def take(value: Any) -> None:
            if value is not None and float(value) != values[version]:
                values[version] = float(value)
                slider.value = number.value = float(value)
                changed(version)

        text(f"Version {version}", "strong name")
        slider = ui.slider(min=0, max=100, step=0.5, value=values[version])
        slider._props["aria-label"] = f"Version {version} {what}, slider"
        slider._props["tabindex"] = -1  # what it focuses has no name; the number beside it does the same
        number = ui.number(value=values[version], min=0, max=100, step=1, suffix="%")
        number.props("dense outlined")._props["aria-label"] = f"Version {version} {what}, percent"
        slider.on_value_change(lambda event: take(event.value))
        number.on_value_change(lambda event: take(event.value))
        return number

    def _took_weight(self, version: str) -> None:
        self._moved = version
        self._show_sum()

    def _wanted(self) -> dict[str, float]:
        """Versions that shall answer, and those that did."""
        return {name: value for name, value in self._weights.items() if value or name in self._found["split"]}

    def _show_sum(self) -> None:
        total = sum(self._weights.values())
        is_whole = abs(total - 100) <= TOLERANCE
        say(self._sum, "" if is_whole else f"the weights sum to {total:.6g}, not to 100")
        rest = self._rest_of(total)
        self._rest_to.set_visibility(rest is not None)
        if rest is not None:
            self._rest_to.set_text(f"Version {rest[0]} takes the rest: {rest[1]:.6g} %")
        self._preview.set_enabled(is_whole)
        set_command(self._line, split_command(self._model, self._wanted()))
        self._line.set_visibility(is_whole)  # any other would be refused

    def _rest_of(self, total: float) -> tuple[str, float] | None:
        """Which version could make the sum 100, and with how much: the one that has answered most so far."""
        for version in sorted(self._weights, key=lambda name: -self._found["split"].get(name, 0)):
            rest = round(100 - total + self._weights[version], 10)
            if version != self._moved and 0 <= rest <= 100 and rest != self._weights[version]:
                return version, rest
        return None

    def _give_the_rest(self) -> None:
        rest = self._rest_of(sum(self._weights.values()))
        if rest is not None:
            self._numbers[rest[0]].value = rest[1]

    async def _propose_split(self) -> None:
        weights = self._wanted()
        body = {
            "kind": "split",
            "split": [{"version": name, "weight": value} for name, value in weights.items()],
        }
        await self._edit("Change who answers", body, split_command(self._model, weights))

    def _copies(self) -> None:
        shadows = self._found["shadows"]
        self._shadows = {version: float(shadows.get(version, 0)) for version in _ordered(self._found)}
        self._sliders(self._shadows, "gets as a shadow", lambda _: self._show_shadows())
        button("Show what changes", self._propose_shadows)
        self._shadow_line = command_line(self._shadow_command())

    def _show_shadows(self) -> None:
        set_command(self._shadow_line, self._shadow_command())

    def _shadow_command(self) -> str:
        wanted = [f"{name}={value:.10g}" for name, value in self._shadows.items() if value]
        return command("route", "shadow", self._model, *(wanted or ["--off"]))

    async def _propose_shadows(self) -> None:
        shadows = [{"version": name, "percent": value} for name, value in self._shadows.items() if value]
        body = {"kind": "shadows", "shadows": shadows}
        await self._edit("Change who gets copies", body, self._shadow_command())

    async def _edit(self, title: str, body: dict[str, Any], line: str) -> None:
        revision = self._found["revision"]
        await propose(
            self._watch,
            edit(self._model, body, title=title, revision=revision, command=line, after=self._changed),
        )

    def _cutover(self) -> None:
        slots = self._found["slots"]
        text(
            "All requests to one version at once, after each of its workers answered a test inference.",
            "soft",
            "p",
        )
        live = slots["live"] if slots else None
        choices = [version for version in self._found["versions"] if self._found["split"].get(version) != 100]
        if choices:
            self._forward(choices)
        if slots and live and all(slots.get(name) for name in ("blue", "green")):
            button("Back to the other slot …", lambda: self._propose_cutover(None), "quiet")
            command_line(command("cutover", self._model, "--back"))

    def _forward(self, choices: list[str]) -> None:
        with ui.element("div").classes("row-of"):
            chosen = ui.select(choices, value=choices[0], label="Version").props("dense outlined")
            button("Cut over …", lambda: self._propose_cutover(str(chosen.value)), "quiet")
        line = command_line(command("cutover", self._model, "--to", choices[0]))
        chosen.on_value_change(
            lambda event: set_command(line, command("cutover", self._model, "--to", event.value))
        )

    async def _propose_cutover(self, to: str | None) -> None:
        words = command("cutover", self._model, *(("--back",) if to is None else ("--to", to)))
        await propose(
            self._watch,
            Change(
                title="Back to the other slot" if to is None else f"Cut over to version {to}",
                model=self._model,
                path=path_of("models", self._model, "cutover"),
                body={"to": to, "back": to is None, "observe_s": 1},
                revision=self._found["revision"],
                command=words,
                is_risky=True,
                after=self._changed,
            ),
        )

    def _rest(self) -> None:
        found = self._found
        with card("The rest of the route"), ui.element("dl").classes("metrics wide"):
            sticky = found["sticky"]
            stuck = (
                " ".join(f"{kind} {name}" for kind, name in sticky.items() if name) if sticky else "nothing"
            )
            instead = f"version {found['fallback']} answers" if found["fallback"] else "callers get 503"
            facts = [("Sticks to", stuck), ("Where a version has no ready worker", instead)]
            if found["slots"]:
                slots = found["slots"]
                pair = ", ".join(f"{name} {slots[name]}" for name in ("blue", "green") if slots.get(name))
                facts.append(("Slots", f"{pair}; live: {slots['live']}"))
            facts += [("Rule", rule) for rule in found["rules"]]
            for name, words in facts:
                with ui.element("div"):
                    text(name, "", "dt")
                    text(words, "", "dd")


def _ordered(found: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys([*found["split"], *found["versions"]]))
