"""How an operator changes something: sees what would change, says who and why, and then does it.

The same dialog for every change: a dry run against the control API shows the differences and warnings; where
a change is risky the model's name must be typed; the commit expects the revision that the dry run saw, so of
two operators at once one is told. Called by pages.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from nicegui import ui

from gateway.console.api import ApiError, path_of
from gateway.console.pieces import button, command_line, heading, text
from gateway.console.place import Watch

WAIT_S = 10  # for every gateway to serve the change


@dataclass(frozen=True, slots=True)
class Change:
    """`path` takes `body` with `dry_run`, `reason` and `expected_revision` beside it."""

    title: str
    model: str
    path: str
    body: dict[str, Any]
    revision: int
    command: str
    is_risky: bool = False
    after: Callable[[], None] = field(default=lambda: None)


def edit(model: str, edit_body: dict[str, Any], **rest: Any) -> Change:
    return Change(model=model, path=path_of("routes", model, "edit"), body={"edit": edit_body}, **rest)


async def propose(watch: Watch, change: Change) -> None:
    """Shows the differences; commits when the operator says so."""
    try:
        found = await watch.post(change.path, _body(change, dry_run=True))
    except ApiError as error:
        _refused(change, error)
        return
    _Proposal(watch, change, found).open()


def _body(change: Change, *, dry_run: bool, reason: str = "", force: bool = False) -> dict[str, Any]:
    wait = 0 if dry_run else WAIT_S
    common = {"expected_revision": change.revision, "dry_run": dry_run, "reason": reason, "wait_s": wait}
    return {**change.body, **common, **({"force": True} if force else {})}


def _refused(change: Change, error: ApiError) -> None:
    with ui.dialog(value=True) as dialog, ui.card().classes("dialog"):
        dialog._props["aria-label"] = change.title
        heading(change.title)
        _error(error)
        button("Close", dialog.close, "quiet")


def _error(error: ApiError) -> None:
    with ui.element("div").classes("error").props('role="alert"'):
        text(error.message, "", "p")
        for problem in error.data.get("problems", ())[1:]:
            text(str(problem), "", "p")
        if error.code == "conflict":
            text("Nothing was changed. Close this, look at what is there now, and start again.", "", "p")


class _Proposal:
    def __init__(self, watch: Watch, change: Change, found: dict[str, Any]) -> None:
        self._watch, self._change, self._found = watch, change, found

    def open(self) -> None:
        change, found = self._change, self._found
        with ui.dialog(value=True) as self._dialog, ui.card().classes("dialog"):
            self._dialog._props["aria-label"] = change.title
            heading(change.title)
            self._differences()
            for warning in found.get("warnings", ()):
                text(warning, "warning", "p")
            self._who = ui.input("Your name, for the history", value=self._watch.session.author or "")
            self._why = ui.input("Why (the history keeps it)").props("maxlength=512")
            self._typed = self._typing() if change.is_risky else None
            self._wrong = ui.element("div")
            command_line(change.command)
            with ui.element("div").classes("row-of"):
                kind = "risky" if change.is_risky else "main"
                self._commit = button("Commit", self._do, kind)
                button("Cancel", self._dialog.close, "quiet")
        if not found.get("changed") or self._typed is not None:
            self._commit.disable()

    def _differences(self) -> None:
        if not self._found.get("changed"):
            text("Nothing would change.", "", "p")
            return
        text(f"This changes revision {self._change.revision} of {self._change.model}:", "soft", "p")
        with ui.element("ul").classes("diff").props('aria-label="What changes"'):
            for difference in self._found["differences"]:
                text(difference, "", "li")
        for worker in self._found.get("checked", ()):
            said = worker["problem"] or f"answered a test inference in {worker['ms']:.1f} ms"
            text(f"Worker {worker['address']} {said}", "soft", "p")

    def _typing(self) -> ui.input:
        def check() -> None:
            is_right = typed.value == self._change.model and bool(self._found.get("changed"))
            self._commit.set_enabled(is_right)

        typed = ui.input(f"Type {self._change.model} to confirm", on_change=check).props("autocomplete=off")
        return typed

    async def _do(self) -> None:
        if self._typed is not None and self._typed.value != self._change.model:
            return
        self._watch.session.author = (self._who.value or "").strip()[:128]
        self._commit.disable()
        self._wrong.clear()
        body = _body(self._change, dry_run=False, reason=(self._why.value or "").strip())
        try:
            done = await self._watch.post(self._change.path, body)
        except ApiError as error:
            with self._wrong:
                _error(error)
            self._commit.set_enabled(error.code not in ("conflict", "invalid_document"))
            return
        self._dialog.close()
        ui.notify(
            _told(self._change, done), type="positive", position="top", timeout=6000, close_button="Close"
        )
        self._change.after()


def _told(change: Change, done: dict[str, Any]) -> str:
    applied = done.get("applied")
    where = f"; {applied['gateways']} of {applied['of']} gateways serve it" if applied else ""
    return f"{change.model} is at revision {done['revision']}{where}"


async def act(call: Callable[[], Awaitable[Any]], *, done: str) -> bool:
    """Performs one call and says how it went; false when it was refused."""
    try:
        await call()
    except ApiError as error:
        ui.notify(error.message, type="negative", position="top", timeout=0, close_button="Close")
        return False
    ui.notify(done, type="positive", position="top")
    return True
