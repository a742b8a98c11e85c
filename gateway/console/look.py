"""The frame around every page: name, places to go, theme, and the banner that says what is wrong.

Called by every page; `install_look` once for all of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nicegui import ui
from nicegui.element import Element

from gateway.console.feed import Topic
from gateway.console.pieces import Moment, icon_button, link, text
from gateway.console.place import session_of_page

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<path d="M4 16h8c6 0 6-9 16-9M12 16c6 0 6 9 16 9" fill="none" stroke="#0b7a75"'
    ' stroke-width="4" stroke-linecap="round"/></svg>'
)
PLACES = (
    ("Overview", "/"),
    ("Versions", "/versions"),
    ("Predictions", "/predictions"),
    ("Fleet", "/fleet"),
    ("Audit", "/audit"),
)
ONLY_LOOK = ("client", "viewer")  # roles that may change nothing
_THEMES = {
    None: ("brightness_auto", "as the system"),
    True: ("dark_mode", "dark"),
    False: ("light_mode", "light"),
}


def install_look() -> None:
    style = Path(__file__).with_name("look.css").read_text()
    ui.add_head_html(f"<style>{style}</style>", shared=True)  # `add_css` writes a script, which has no nonce


class Banner:
    """Says that the control API does not answer, or why not; speaks up by itself for a screen reader."""

    def __init__(self) -> None:
        self._box = ui.element("div").classes("banner").props('role="alert"')
        self._box.set_visibility(False)
        self._shown: tuple[str, float] | None = None

    def show(self, *topics: Topic) -> None:
        if any(topic.error is not None and topic.error.wants_key for topic in topics):
            _sign_in()
            return
        wrong = next((topic for topic in topics if topic.error is not None and _is_news(topic)), None)
        shown = None if wrong is None or wrong.error is None else (wrong.error.message, wrong.known_at_s)
        if shown == self._shown:
            return
        self._shown = shown
        self._box.set_visibility(shown is not None)
        self._box.clear()
        if wrong is None or wrong.error is None:
            return
        with self._box:
            text(_title(wrong.error.code), "strong")
            text(wrong.error.message)
            if wrong.known_at_s:
                text("What is shown was known at ")
                Moment(wrong.known_at_s * 1000)


def _sign_in() -> None:
    """A key that is refused is forgotten, and what it showed is left: it may be somebody else by now."""
    session = session_of_page()
    session.forget_key()
    asked = ui.context.client.request.url
    session.left = asked.path.removeprefix("/console") + (f"?{asked.query}" if asked.query else "")
    ui.navigate.to("/session")  # below the console's own path


def _is_news(topic: Topic) -> bool:
    """What a page says itself, such as an unknown model, needs no banner."""
    return topic.error is not None and (topic.error.status in (0, 403) or topic.error.status >= 500)


def _title(code: str) -> str:
    return {
        "store_away": "Redis is away: predictions go on, changes are not taken. ",
        "unreachable": "The control API does not answer. ",
    }.get(code, "")


@contextmanager
def frame(title: str, here: str = "") -> Iterator[Banner]:
    """A page; `here` is the path of its place in the navigation."""
    ui.page_title(f"{title} – Turnout")
    session = session_of_page()
    dark = ui.dark_mode(value=session.dark)
    ui.colors(primary="#0b6a66", positive="#14663a", negative="#a3161f")
    skip = ui.element("a").classes("skip")
    skip._props["href"] = "#content"
    skip._text = "Skip to the content"
    with ui.element("header").classes("top"):
        link("Turnout", "/", "brand")
        with ui.element("nav").props('aria-label="Places"'):
            for name, path in PLACES:
                _place(name, path, is_here=path == here)
        _tools(dark)
    with ui.element("div").classes("page") as page:
        page._props.update({"id": "content", "tabindex": -1})
        banner = Banner()
        if session.role in ONLY_LOOK:
            text(
                f"{session.named} is a {session.role}: you may look at all this, and change nothing.",
                "soft",
                "p",
            )
        yield banner


def _place(name: str, path: str, *, is_here: bool) -> Element:
    made = link(name, path)
    if is_here:
        made._props["aria-current"] = "page"
    return made


def _tools(dark: ui.dark_mode) -> None:
    session = session_of_page()

    def turn() -> None:
        order = [None, True, False]
        session.dark = order[(order.index(session.dark) + 1) % len(order)]
        dark.value = session.dark
        icon, words = _THEMES[session.dark]
        button.props.update({"icon": icon, "aria-label": f"Theme: {words}"})
        button.update()

    with ui.element("div").classes("tools"):
        icon, words = _THEMES[session.dark]
        button = icon_button(icon, f"Theme: {words}", turn)
        link(session.who or "Who are you?", "/session", "who")
