"""The pieces that pages are made of. Every text is the text of an element: it is never HTML."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nicegui import ui
from nicegui.element import Element

COLOURS = 6  # of versions; `look.css` has as many


class Moment(Element, component="moment.js"):
    """A point in time, in the viewer's zone; or how long ago it was."""

    def __init__(self, at_ms: float, *, age: bool = False) -> None:
        super().__init__()
        self._props["ms"] = at_ms
        self._props["age"] = age


def heading(text: str, level: int = 2) -> Element:
    element = ui.element(f"h{level}")
    element._text = text
    return element


def text(words: str, classes: str = "", name: str = "span") -> Element:
    element = ui.element(name).classes(classes)
    element._text = words
    return element


def sentence(words: str, classes: str = "", name: str = "p") -> Element:
    """A text in which what stands between backticks is code."""
    with ui.element(name).classes(classes) as element:
        for index, part in enumerate(words.split("`")):
            if part:
                text(part, "", "code" if index % 2 else "span")
    return element


def say(element: Element, words: str) -> None:
    """Gives an element another text, if it has not this one already."""
    if element._text != words:
        element._text = words
        element.update()


def button(words: str, on_click: Callable[..., Any], kind: str = "main") -> ui.button:
    """`kind`: main, quiet, or risky for what clients feel at once."""
    made = ui.button(words, on_click=on_click, color=None)
    return made.props("no-caps unelevated").classes(f"act-{kind}")


def icon_button(icon: str, label: str, on_click: Callable[..., Any]) -> ui.button:
    made = ui.button(icon=icon, on_click=on_click, color=None).props("flat round dense").classes("icon")
    made._props["aria-label"] = label
    return made


def link(words: str, to: str, classes: str = "") -> Element:
    """A link inside the console; `to` begins with a slash."""
    element = ui.element("a").classes(classes)
    element._props["href"] = f"/console{to}"
    element._text = words
    return element


@contextmanager
def card(title: str = "", classes: str = "") -> Iterator[Element]:
    with ui.element("section").classes(f"card {classes}") as element:
        if title:
            heading(title)
            element._props["aria-label"] = title
        yield element


@contextmanager
def dialog(title: str) -> Iterator[ui.dialog]:
    """An open one; what is drawn within stands under its title. It belongs to the page, so that it stays when
    the part with its button is drawn anew."""
    with ui.context.client.layout, ui.dialog(value=True) as shown, ui.card().classes("dialog"):
        shown.on("hide", shown.delete)
        shown._props["aria-label"] = title
        heading(title)
        yield shown


def command_line(words: str) -> Element:
    """A command of `turnout` that does or shows the same, to be copied."""
    with ui.element("div").classes("command") as line:
        shown = ui.element("code")
        shown._text = words
        shown._props["tabindex"] = 0

        def copy() -> None:
            ui.clipboard.write(shown._text or "")
            ui.notify("Copied", position="bottom", type="positive")

        icon_button("content_copy", "Copy the command", copy)
    line.shown = shown  # type: ignore[attr-defined]
    return line


def set_command(line: Element, words: str) -> None:
    say(line.shown, words)  # type: ignore[attr-defined]


def empty(what: str, do: str = "", turnout: str = "") -> None:
    """Nothing is here yet, and what brings something."""
    with ui.element("div").classes("empty"):
        text(what, "strong", "p")
        if do:
            text(do, "", "p")
        if turnout:
            command_line(turnout)


def badge(words: str, kind: str = "") -> Element:
    """`kind`: good, bad, warn, or nothing."""
    return text(words, f"badge {kind}")


def colour(versions: Sequence[str], version: str) -> str:
    """The class of a version's colour; the same wherever the model is shown."""
    place = sorted(versions).index(version) if version in versions else len(versions)
    return f"v{place % COLOURS}"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, label: str, stacked: bool = True) -> None:
    """A real table; a cell is a text or a function that draws it. A column `name>` is one of numbers.

    `stacked`: on narrow screens each row becomes a small list.
    """
    with ui.element("div").classes("scroll") as around:
        around._props.update({"tabindex": 0, "role": "region", "aria-label": label})
        with ui.element("table").classes("stacked" if stacked else ""):
            with ui.element("thead"), ui.element("tr"):
                for name in columns:
                    head = text(name.removesuffix(">"), "number" if name.endswith(">") else "", "th")
                    head._props["scope"] = "col"
            with ui.element("tbody"):
                for row in rows:
                    with ui.element("tr"):
                        for name, cell in zip(columns, row, strict=True):
                            with ui.element("td").classes("number" if name.endswith(">") else "") as made:
                                made._props["data-label"] = name.removesuffix(">")
                                with ui.element("div"):
                                    cell() if callable(cell) else text(str(cell))


class Section:
    """A part of a page that is drawn anew when, and only when, what it shows has changed."""

    def __init__(self, draw: Callable[[Any], None], *, classes: str = "") -> None:
        self._draw = draw
        self._box = ui.element("div").classes(f"stack {classes}")
        self.shown: Any = None
        self._is_drawn = False

    def show(self, value: Any) -> None:
        if self._is_drawn and value == self.shown:
            return
        self.shown, self._is_drawn = value, True
        self._box.clear()
        with self._box:
            self._draw(value)

    def forget(self) -> None:
        """Draw at the next look, whatever is shown then."""
        self._is_drawn = False
