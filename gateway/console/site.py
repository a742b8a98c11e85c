"""All pages of the console, put together. Importing this module loads NiceGUI; only `console.mount` does.

NiceGUI keeps its pages in the process: there is one console in a process.
"""

from fastapi import FastAPI
from nicegui import app as nicegui_app
from nicegui import ui
from nicegui.client import templates

from gateway.console.api import Api
from gateway.console.feed import Feed
from gateway.console.look import ICON, install_look
from gateway.console.nonce import install_nonces
from gateway.console.pages import (
    audit,
    compare,
    fleet,
    model,
    overview,
    predictions,
    rollout,
    session,
    versions,
)
from gateway.console.place import Place

_PAGES = (overview, model, rollout, compare, predictions, versions, fleet, audit, session)


def build_site(control_url: str) -> tuple[FastAPI, Feed]:
    """The application that serves the pages, and what feeds them (to be closed at the end)."""
    api = Api(control_url)
    feed = Feed(api)
    install_look()
    install_nonces(templates.env)
    place = Place(api, feed)
    for page in _PAGES:
        page.install(place)
    # A bar that runs over the page at every request, which says nothing here.
    nicegui_app.config.quasar_config["loadingBar"] = {"skipHijack": True}
    nicegui_app.config.socket_io_js_transports = ["websocket"]
    shell = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    ui.run_with(
        shell,
        title="Turnout",
        favicon=ICON,
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=10.0,
        binding_refresh_interval=None,
    )
    return shell, feed
