"""Who changed a route, when and why, newest first, each with the way back to it."""

from collections.abc import Callable
from typing import Any

from nicegui import ui

from gateway.console.change import edit, propose
from gateway.console.pieces import Moment, button, card, command_line, empty, text
from gateway.console.place import Watch
from gateway.console.words import command

SHOWN = 20


def show_history(
    watch: Watch, model: str, entries: list[dict[str, Any]] | None, changed: Callable[[str], None]
) -> None:
    with card("History"):
        if not entries:
            empty("Nothing was changed yet.")
            return
        with ui.element("div").classes("history").props('role="list"'):
            for index, entry in enumerate(entries[:SHOWN]):
                _entry(watch, model, entry, entries[0]["revision"], changed, is_newest=index == 0)
        command_line(command("route", "history", model))


def _entry(
    watch: Watch,
    model: str,
    entry: dict[str, Any],
    newest: int,
    changed: Callable[[str], None],
    *,
    is_newest: bool,
) -> None:
    async def go_back() -> None:
        words = command("route", "rollback", model, "--to", entry["revision"])
        title = f"Back to revision {entry['revision']}"
        body = {"kind": "rollback", "to": entry["revision"]}
        await propose(
            watch,
            edit(model, body, title=title, revision=newest, command=words, is_risky=True, after=changed),
        )

    with ui.element("div").classes("entry").props('role="listitem"'):
        text(str(entry["revision"]), "strong")
        with ui.element("div").classes("what"):
            text("; ".join(entry["changes"]) if entry["document"] else "deleted", "", "div")
            with ui.element("div").classes("soft"):
                text(f"{entry['author']}, ")
                Moment(entry["at_ms"])
                if entry["reason"]:
                    text(f" – {entry['reason']}")
        with ui.element("div").classes("act"):
            if is_newest:
                text("now", "badge good")
            elif entry["document"]:
                back = button("Go back …", go_back, "quiet").props("dense")
                back._props["aria-label"] = f"Go back to revision {entry['revision']}"
