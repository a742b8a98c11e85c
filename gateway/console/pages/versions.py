"""The registered versions of a model: what each is, where it came from, and what people decided about it."""

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from gateway.console.api import path_of
from gateway.console.look import frame
from gateway.console.pages.naming import Naming, show_aliases
from gateway.console.pages.standing import decide, show_standing, state_badge
from gateway.console.pieces import Section, badge, card, command_line, empty, heading, link, say, text
from gateway.console.place import Place, Watch, session_of_page
from gateway.console.words import bytes_words, command, pool_kind, pool_words, tensor_words

REGISTER = "turnout model register MODEL --version 1 --from model.onnx"
_LINEAGE = {
    "kind": "Kind of source", "git_commit": "Git commit", "git_ref": "Git reference", "subject": "Says",
    "created_by": "Made by", "created_at": "Made at", "data_digest": "Training data", "run_id": "Run",
    "framework": "Framework",
}  # fmt: skip


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
            with ui.element("div").classes("row-of"):
                chosen = ui.select(names, value=self._model, label="Model").props("dense outlined")
                self._links = Section(_links)
            chosen.on_value_change(self._choose)
            self._told = text("", "told", "p").props('role="status"')
            with card("Aliases"):
                text("Names for versions that move, such as champion.", "soft", "p")
                self._aliases = Section(show_aliases)
                self._naming = Section(self._draw_naming)
            self._body = Section(self._draw)
            self._more = Section(_commands)
        await self._watch.first_of(dict.fromkeys(self._paths(), 2.0))
        self.update()
        ui.timer(1.0, self.update)

    def _paths(self) -> list[str]:
        return [path_of("models", self._model, *rest) for rest in ((), ("standings",), ("aliases",))]

    def _choose(self, event: Any) -> None:
        self._model = str(event.value)
        self.update()

    def update(self) -> None:
        topics = [self._watch.want(path, every_s=2.0) for path in self._paths()]
        self._banner.show(*topics)
        self._links.show(self._model)
        self._more.show(self._model)
        if all(topic.data is not None for topic in topics):
            model, standings, aliases = (topic.data for topic in topics)
            self._body.show((model, standings, aliases["aliases"]))
            self._aliases.show(aliases)
            versions = tuple(item["version"] for item in model["versions"])
            self._naming.show((aliases["model"], aliases["aliases"], aliases["revision"], versions))

    def _changed(self, how: str) -> None:
        say(self._told, how)
        for path in self._paths():
            self._watch.want(path, every_s=2.0).hurry()

    def _draw_naming(self, found: tuple[str, dict[str, str], int, tuple[str, ...]]) -> None:
        model, aliases, revision, versions = found
        if versions:
            Naming(
                self._watch, model, aliases=aliases, revision=revision, versions=versions,
                changed=self._changed,
            ).build()  # fmt: skip

    def _draw(self, found: tuple[dict[str, Any], ...]) -> None:
        model, standings, aliases = found
        by_version = {item["version"]: item for item in standings["versions"]}
        with ui.element("div").classes("columns"):
            for version in model["versions"]:
                name = version["version"]
                with card(f"Version {name}"):
                    meant = [alias for alias, means in aliases.items() if means == name]
                    _version(version, by_version.get(name), meant)
                    if name in by_version:
                        decide(self._watch, self._model, by_version[name], self._changed)
                    command_line(command("model", "show", self._model, name))


def _links(model: str) -> None:
    with ui.element("div").classes("head"):
        link("Traffic and route", path_of("models", model))
        link("Compare", path_of("models", model, "compare"))
        link("Rollout", path_of("models", model, "rollout"))


def _commands(model: str) -> None:
    with card("From the terminal"):
        command_line(command("model", "standing", model))
        text("Another version:", "soft", "p")
        command_line(command("model", "register", model, "--version", "NEXT", "--from", "model.onnx"))


def _version(version: Mapping[str, Any], standing: Mapping[str, Any] | None, aliases: list[str]) -> None:
    pool = version["pool"]
    with ui.element("div").classes("badges"):
        if standing is not None:
            state_badge(standing["state"])
        badge(pool_words(pool), pool_kind(pool))
        for alias in aliases:
            badge(f"alias {alias}")
    if version["notes"]:
        text(version["notes"], "", "p")
    if standing is not None:
        show_standing(standing)
    with ui.element("dl").classes("metrics wide"):
        for name, words in _facts(version):
            with ui.element("div"):
                text(name, "", "dt")
                text(words, "", "dd")
    if version["card"]:
        with ui.element("details"):
            text("Model card", "", "summary")
            text(version["card"], "doc", "pre")


def _facts(version: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Only what is known."""
    lineage = version["lineage"]
    told = [
        ("Owner", version["owner"]),
        (
            "Measured when registered",
            ", ".join(f"{name} {value:g}" for name, value in version["metrics"].items()),
        ),
        ("Takes", tensor_words(version["signature"]["inputs"])),
        ("Gives", tensor_words(version["signature"]["outputs"])),
        ("Made from", version["source"]),
        *((words, str(lineage[name])) for name, words in _LINEAGE.items() if lineage[name]),
        ("Parameters", _pairs(lineage["parameters"])),
        ("Tags", _pairs(version["tags"])),
        ("Written by", version["producer"]),
        ("Size", bytes_words(version["size_bytes"])),
        ("SHA-256", version["digest"]),
    ]
    return [(name, words) for name, words in told if words]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
