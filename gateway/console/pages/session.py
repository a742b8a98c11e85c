"""Who uses this browser: the name that histories keep, and the key for a control API that asks for one.

The key stays in the server's memory, in the session of this browser, and is never shown again.
"""

from nicegui import ui

from gateway.console.api import ApiError
from gateway.console.look import frame
from gateway.console.pieces import button, card, heading, link, text
from gateway.console.place import Place, session_of_page

MAX_AUTHOR_LENGTH = 128  # as the control API has it


def install(place: Place) -> None:
    @ui.page("/session")
    async def show() -> None:
        _build(await _provider(place))


async def _provider(place: Place) -> str:
    """Where people can log in; "" = nowhere."""
    try:
        found = await place.api.get(session_of_page(), "/login")
    except ApiError:
        return ""
    return str(found["issuer"]) if found["possible"] else ""


def _build(provider: str) -> None:
    session = session_of_page()
    with frame("Who you are"):
        heading("Who you are", 1)
        if provider and session.is_login:
            with card():
                text(f"You are logged in as {session.author}, by {provider}.", "", "p")
                link("Log out", "/login/out")
            return
        if provider:
            with card():
                link(f"Log in at {provider}", "/login")
        with card():
            name = ui.input("Your name, for history and audit", value=session.author)
            name.props(f"outlined maxlength={MAX_AUTHOR_LENGTH}")
            key = ui.input("Key of the control API, where it asks for one", password=True)
            key.props("outlined autocomplete=off")
            has_key = text("", "soft", "p")
            text(
                "The key stays in the memory of the control process, for this browser only.",
                "soft",
                "p",
            )

            def told() -> None:
                has_key._text = "A key is in use." if session.key else "No key is in use."
                has_key.update()

            def keep() -> None:
                session.author = (name.value or "").strip()
                if key.value:
                    session.key = key.value.strip()
                    key.value = ""
                told()
                ui.notify("Kept", type="positive", position="top")

            def forget() -> None:
                session.author, session.key = "", None
                name.value = key.value = ""
                told()
                ui.notify("Forgotten", position="top")

            told()
            with ui.element("div").classes("row-of"):
                button("Keep", keep)
                button("Forget me", forget, "quiet")
