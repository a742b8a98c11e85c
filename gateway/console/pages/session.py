"""Who uses this browser: the name that histories keep, and the key for a control API that asks for one.

The key stays in the server's memory, in the session of this browser, and is never shown again.
"""

from nicegui import ui

from gateway.console.api import ApiError
from gateway.console.ask import MAX_AUTHOR_LENGTH
from gateway.console.look import frame
from gateway.console.pieces import button, card, command_line, heading, link, say, text
from gateway.console.place import Place, Watch, session_of_page


def install(place: Place) -> None:
    @ui.page("/session")
    async def show() -> None:
        watch = Watch(place, session_of_page())
        _build(watch, await _known(watch), await _provider(watch))


async def _known(watch: Watch) -> str:
    """Who the control API takes this browser for."""
    try:
        found = await watch.get("/whoami")
    except ApiError as error:
        return error.message
    if not found["keys_are_on"]:
        return "Nobody needs a key here; your name is what histories keep."
    models = "all models" if found["models"] == ["*"] else ", ".join(found["models"])
    return f"You are {found['name']}, {found['role']} for {models}."


async def _provider(watch: Watch) -> str:
    """Where people can log in; "" = nowhere."""
    try:
        found = await watch.get("/login")
    except ApiError:
        return ""
    return str(found["issuer"]) if found["possible"] else ""


def _build(watch: Watch, known: str, provider: str) -> None:
    session = watch.session
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
            told = text(known, "strong", "p")
            told._props["role"] = "status"
            name = ui.input("Your name, for history and audit", value=session.author)
            name.props(f"outlined maxlength={MAX_AUTHOR_LENGTH}")
            key = ui.input("Key of the control API, where it asks for one", password=True)
            key.props("outlined autocomplete=off")
            text(
                "The key stays in the memory of the control process, for this browser only.",
                "soft",
                "p",
            )

            async def keep() -> None:
                session.author = (name.value or "").strip()
                if key.value:
                    session.key = key.value.strip()
                    key.value = ""
                say(told, await _known(watch))
                ui.notify("Kept", type="positive", position="top")

            def forget() -> None:
                session.author, session.key = "", None
                name.value = key.value = ""
                say(told, "Forgotten: the next page asks anew who you are.")
                ui.notify("Forgotten", position="top")

            with ui.element("div").classes("row-of"):
                button("Keep", keep)
                button("Forget me", forget, "quiet")
            command_line("turnout key whoami")
