"""Who uses this browser: the name that histories keep, and the key for a control API that asks for one.

The key stays in the server's memory, in the session of this browser, and is never shown again.
"""

import shlex

from nicegui import ui

from gateway.console.api import ApiError
from gateway.console.ask import MAX_AUTHOR_LENGTH
from gateway.console.look import frame
from gateway.console.pieces import Section, button, card, command_line, heading, link, say, text
from gateway.console.place import Place, Watch, session_of_page

NO_KEYS = "Nobody needs a key here; your name is what histories keep."


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
        return NO_KEYS
    watch.session.named, watch.session.role = found["name"], found["role"]
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
            back = Section(_way_back)
            back.show(None)
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
                    session.forget_key()
                    session.key = key.value.strip()
                    key.value = ""
                say(told, await _known(watch))
                back.show(session.left or "/" if session.named else None)
                ui.notify("Kept", type="positive", position="top")

            def forget() -> None:
                session.author = session.left = ""
                session.forget_key()
                back.show(None)
                name.value = key.value = ""
                say(told, "Forgotten: the next page asks anew who you are.")
                ui.notify("Forgotten", position="top")

            with ui.element("div").classes("row-of"):
                button("Keep", keep)
                button("Forget me", forget, "quiet")
        with card("From the terminal"):
            text(
                "Commands on these pages speak to this console's control API once you have said:", "soft", "p"
            )
            for line in _terminal(needs_key=known != NO_KEYS):
                command_line(line)


def _terminal(*, needs_key: bool) -> tuple[str, ...]:
    """What makes copied commands work; the key is typed, so that no history of a shell has it."""
    asked = ui.context.client.request.url
    url = shlex.quote(f"TURNOUT_CONTROL_URL={asked.scheme}://{asked.netloc}")
    key = ("read -rs TURNOUT_KEY && export TURNOUT_KEY",) if needs_key else ()
    return (f"export {url}", *key, "turnout key whoami")


def _way_back(to: str | None) -> None:
    if to is not None:
        link("To the overview" if to == "/" else "Back to where you were", to)
