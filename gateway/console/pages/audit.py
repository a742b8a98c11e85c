"""Every change of every document, newest first: who, when, why."""

from typing import Any

from nicegui import ui

from gateway.console.api import path_of
from gateway.console.look import frame
from gateway.console.pieces import Moment, Section, card, command_line, empty, heading, link, table, text
from gateway.console.place import Place, Watch, session_of_page

LIMITS = {50: "50 changes", 200: "200 changes", 1000: "1000 changes"}


def install(place: Place) -> None:
    @ui.page("/audit")
    async def show() -> None:
        await _Audit(Watch(place, session_of_page())).build()


class _Audit:
    def __init__(self, watch: Watch) -> None:
        self._watch, self._limit, self._words = watch, 50, ""

    async def build(self) -> None:
        await self._watch.first("/audit", limit=self._limit)
        with frame("Audit", "/audit") as self._banner:
            heading("Audit", 1)
            with ui.element("div").classes("row-of"):
                shown = ui.select(LIMITS, value=self._limit, label="Show").props("dense outlined")
                words = ui.input("Only those with").props("dense outlined clearable")
            shown.on_value_change(lambda event: self._choose(limit=int(event.value)))
            words.on_value_change(lambda event: self._choose(words=(event.value or "").strip()))
            with card():
                self._entries = Section(_entries)
                command_line("turnout audit")
                text("Was an entry changed, removed or moved?", "soft", "p")
                command_line("turnout audit verify")
        self.update()
        ui.timer(1.0, self.update)

    def _choose(self, *, limit: int | None = None, words: str | None = None) -> None:
        self._limit = limit or self._limit
        self._words = self._words if words is None else words
        self.update()

    def update(self) -> None:
        found = self._watch.want("/audit", limit=self._limit, every_s=2.0)
        self._banner.show(found)
        if found.data is not None:
            words = self._words.casefold()
            entries = [entry for entry in found.data["entries"] if words in _all_words(entry).casefold()]
            self._entries.show((entries, self._words, len(found.data["entries"])))


def _all_words(entry: dict[str, Any]) -> str:
    fields = " ".join(change["field"] for change in entry["changes"])
    return f"{entry['revision']} {entry['author']} {entry['reason']} {fields}"


def _entries(found: tuple[list[dict[str, Any]], str, int]) -> None:
    entries, words, looked_at = found
    if not entries and looked_at:
        empty(
            f"None of the newest {looked_at} changes has “{words}” in its words.",
            "Show more of them above, or clear what you look for.",
        )
        return
    if not entries:
        empty("No change is on record here.", "Whatever is changed through the control API appears at once.")
        return
    table(
        ["Revision", "When", "Who", "Why", "What"],
        [_row(entry) for entry in entries],
        label="Changes, newest first",
    )


def _row(entry: dict[str, Any]) -> list[Any]:
    def when() -> None:
        Moment(entry["at_ms"])

    def what() -> None:
        for change in entry["changes"]:
            kind, _, rest = change["field"].partition("/")
            words = f"{change['field']}{' deleted' if change['deleted'] else ''}"
            model = rest.partition("/")[0]
            with ui.element("div"):
                if kind in ("route", "rollout"):
                    link(words, path_of("models", model, *(("rollout",) if kind == "rollout" else ())))
                elif kind in ("version", "wanted", "standing", "alias"):
                    link(words, f"/versions?model={path_of(model)[1:]}")
                else:
                    text(words)

    def why() -> None:
        text(entry["reason"])
        if entry["forced"]:
            text(f"Forced against: {entry['forced']}", "warning", "p")

    return [entry["revision"], when, entry["author"], why, what]
