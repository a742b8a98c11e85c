"""The browser that tests drive: the system's Chromium, headless, which asks nobody outside."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def program() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def launched(playwright: Playwright) -> Iterator[Browser]:
    found = program()
    assert found is not None, "no Chromium: install Debian's package chromium"
    as_root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    browser = playwright.chromium.launch(executable_path=found, args=[*_QUIET, *as_root])
    try:
        yield browser
    finally:
        browser.close()
