"""The dialog before anything is done: what will happen, who does it and why, and the command for the same.

Whatever is refused is shown in the dialog, with the rule's name; nothing is lost of what was typed. Where
much is at stake a word must be typed. Called by `console.change` and by pages.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from nicegui import ui

from gateway.console.api import ApiError
from gateway.console.pieces import button, command_line, dialog, sentence, set_command, text
from gateway.console.place import Watch

MAX_AUTHOR_LENGTH = 128  # as the control API has it
FINAL = frozenset({"conflict", "invalid_document"})  # the same again would be refused again


@dataclass(frozen=True, slots=True)
class Question:
    """`draw` shows what it is about; `perform` does it, and says how it went; both get what was typed."""

    title: str
    draw: Callable[[], object]
    perform: Callable[[str], Awaitable[str]]
    command: Callable[[str], str]
    verb: str = "Commit"
    why: str = "Why (the history keeps it)"
    confirm: str = ""
    is_risky: bool = False
    has_reason: bool = True  # False: it is asked for nothing, and no name either
    needs_reason: bool = False
    is_possible: bool = True
    after: Callable[[str], None] = field(default=lambda _: None)


def ask(watch: Watch, question: Question) -> None:
    _Asked(watch, question).open()


def refuse(title: str, error: ApiError, line: str) -> None:
    """Nothing can be done here, and why."""
    with dialog(title) as shown:
        show_error(error)
        command_line(line)
        button("Close", shown.close, "quiet")


def show_error(error: ApiError) -> None:
    """What is wrong, by which rules, and what to do about it."""
    told = tuple(map(str, error.data.get("refusals", ()))) or (error.message,)
    with ui.element("div").classes("error").props('role="alert"'):
        if len(told) > 1 or error.code == "refused":
            text("Refused:", "strong", "p")
        for words in (*told, *map(str, error.data.get("problems", ())[1:])):
            sentence(words)
        if error.code == "conflict":
            text("Nothing was changed. Close this, look at what is there now, and start again.", "", "p")


class _Asked:
    def __init__(self, watch: Watch, question: Question) -> None:
        self._watch, self._question = watch, question
        self._is_busy = False

    def open(self) -> None:
        question, session = self._question, self._watch.session
        with dialog(question.title) as self._dialog:
            question.draw()
            self._who = ui.input("Your name, for the history", value=session.author or "")
            self._who.props(f"maxlength={MAX_AUTHOR_LENGTH}").set_visibility(
                session.key is None and question.has_reason
            )
            self._why = ui.input(question.why, on_change=self._check).props("maxlength=512")
            self._why.set_visibility(question.has_reason)
            self._typed = self._confirmation()
            self._wrong = ui.element("div")
            self._line = command_line(question.command(""))
            with ui.element("div").classes("row-of"):
                self._commit = button(question.verb, self._do, "risky" if question.is_risky else "main")
                button("Cancel", self._dialog.close, "quiet")
        self._check()

    @property
    def _reason(self) -> str:
        return (self._why.value or "").strip()

    def _confirmation(self) -> ui.input | None:
        word = self._question.confirm
        if not word:
            return None
        return ui.input(f"Type {word} to confirm", on_change=self._check).props("autocomplete=off")

    def _check(self) -> None:
        """Whether it may be done now; the command follows the reason."""
        question = self._question
        is_confirmed = self._typed is None or self._typed.value == question.confirm
        has_reason = bool(self._reason) or not question.needs_reason
        self._commit.set_enabled(question.is_possible and is_confirmed and has_reason and not self._is_busy)
        set_command(self._line, question.command(self._reason))

    async def _do(self) -> None:
        if self._is_busy:
            return
        self._watch.session.author = (self._who.value or "").strip()[:MAX_AUTHOR_LENGTH]
        self._is_busy = True
        self._commit.disable()
        self._wrong.clear()
        try:
            done = await self._question.perform(self._reason)
        except ApiError as error:
            with self._wrong:
                show_error(error)
            self._is_busy = error.code in FINAL
            self._check()
            return
        self._dialog.close()
        tell(done)
        self._question.after(done)


def tell(words: str, **rest: Any) -> None:
    ui.notify(words, type="positive", position="top", timeout=6000, close_button="Close", **rest)


async def act(call: Callable[[], Awaitable[Any]], *, done: str) -> bool:
    """Performs one call without a question, and says how it went; false when it was refused."""
    try:
        await call()
    except ApiError as error:
        ui.notify(error.message, type="negative", position="top", timeout=0, close_button="Close")
        return False
    tell(done)
    return True
