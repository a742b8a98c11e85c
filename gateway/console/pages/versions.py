"""The registered versions of a model: what each is, takes and gives, and how it was measured when it came."""

from typing import Any

from nicegui import ui

from gateway.console.api import path_of
from gateway.console.look import frame
from gateway.console.pieces import Section, badge, card, command_line, empty, heading, link, text
from gateway.console.place import Place, Watch, session_of_page
from gateway.console.words import NOTHING, bytes_words, command, pool_words, tensor_words

REGISTER = "turnout model register MODEL --version 1 --from model.onnx"


def install(place: Place) -> None:
    @ui.page("/versions")
    async def show(model: str = "") -> None:
        await _Versions(Watch(place, session_of_page())).build(model)


class _Versions:
    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._model = ""

    async def build(self, model: str) -> None:
        known = await self._watch.first("/models", every_s=3.0)
        names = [entry["model"] for entry in known.data["models"]] if known.data else []
        with frame("Versions", "/versions") as self._banner:
            heading("Versions", 1)
            if not names:
                empty("No version is registered yet.", "Register one from an ONNX file.", REGISTER)
                self._banner.show(known)
                return
            self._model = model if model in names else names[0]
            chosen = ui.select(names, value=self._model, label="Model").props("dense outlined")
            chosen.on_value_change(self._choose)
            self._body = Section(self._draw)
        await self._watch.first(path_of("models", self._model), every_s=2.0)
        self.update()
        ui.timer(1.0, self.update)

    def _choose(self, event: Any) -> None:
        self._model = str(event.value)
        self.update()

    def update(self) -> None:
        found = self._watch.want(path_of("models", self._model), every_s=2.0)
        self._banner.show(found)
        if found.data is not None:
            self._body.show(found.data)

    def _draw(self, found: dict[str, Any]) -> None:
        with ui.element("div").classes("columns"):
            for version in found["versions"]:
                with card(f"Version {version['version']}"):
                    _version(version)
        with card():
            with ui.element("div").classes("row-of"):
                link("Traffic and route", path_of("models", found["model"]))
                link("Compare", path_of("models", found["model"], "compare"))
            command_line(command("model", "show", found["model"]))
            text("Another version:", "soft", "p")
            command_line(
                command("model", "register", found["model"], "--version", "NEXT", "--from", "model.onnx")
            )


def _version(version: dict[str, Any]) -> None:
    pool = version["pool"]
    is_well = pool["ready"] >= (1 if pool["wanted"] is None else pool["wanted"])
    badge(pool_words(pool), "good" if is_well else "bad")
    measured = ", ".join(f"{name} {value:g}" for name, value in version["metrics"].items())
    tags = ", ".join(f"{name} {value}" for name, value in version["tags"].items())
    facts = (
        ("Notes", version["notes"]),
        ("Owner", version["owner"]),
        ("Measured when registered", measured),
        ("Takes", tensor_words(version["signature"]["inputs"])),
        ("Gives", tensor_words(version["signature"]["outputs"])),
        ("Made from", version["source"]),
        ("Size", bytes_words(version["size_bytes"])),
        ("SHA-256", version["digest"]),
        ("Tags", tags),
    )
    with ui.element("dl").classes("metrics wide"):
        for name, words in facts:
            with ui.element("div"):
                text(name, "", "dt")
                text(words or NOTHING, "", "dd")
