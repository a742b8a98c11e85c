"""Who has never seen Turnout opens the demo's console, tries a version, sees it fail, and goes back."""

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from gateway.cli.demo.traffic import Traffic, read_samples
from tests.running import FREE_PORTS, ROOT, Up

PATIENCE_MS = 90_000  # of labels: some dozens decide
LABELS_PER_S = 120.0


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Up]:
    """The demo with more traffic than its own, and labels at once: they decide in seconds."""
    running = Up(tmp_path / "data", "--demo", "--no-traffic", *FREE_PORTS)
    try:
        running.until_up()
        traffic = Traffic(
            url=running.address("gateway"), samples=read_samples(ROOT / "config" / "demo"),
            rate=LABELS_PER_S, label_delay_s=0.05, say=lambda _: None,
        )  # fmt: skip
        loop = asyncio.new_event_loop()
        sending = loop.create_task(traffic.run())
        thread = threading.Thread(target=_until_cancelled, args=(loop, sending))
        thread.start()
        yield running
        loop.call_soon_threadsafe(sending.cancel)
        thread.join(20)
    finally:
        running.destroy()


def _until_cancelled(loop: asyncio.AbstractEventLoop, sending: "asyncio.Task[None]") -> None:
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(sending)
    loop.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def copied(page: Page) -> str:
    """The command of the open dialog with the reason in it, through its button and the clipboard."""
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("code")).to_contain_text("--reason")
    shown = dialog.locator("code").inner_text()
    dialog.get_by_role("button", name="Copy the command").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    taken = str(page.evaluate("navigator.clipboard.readText()"))
    assert taken == shown
    return taken


def test_a_stranger_tries_a_version_sees_it_fail_goes_back_and_repeats_it_in_a_terminal(
    page: Page, demo: Up
) -> None:
    control = demo.address("control")
    page.goto(control)
    expect(page.get_by_role("img", name="Split: version 1 100 %")).to_be_visible()
    page.get_by_role("link", name="digits", exact=True).click()
    before = demo.get("control", "/api/v1/routes/digits")["revision"]

    page.get_by_label("Version 4 answers, percent", exact=True).fill("10")
    page.get_by_role("button", name="Version 1 takes the rest: 90 %").click()
    page.get_by_role("button", name="Show what changes").first.click()
    page.get_by_label("Your name, for the history").fill("stranger")
    page.get_by_label("Why (the history keeps it)").fill("let's see 4")
    move = copied(page)
    page.get_by_role("button", name="Commit").click()
    expect(page.get_by_role("article", name="Version 4, primary")).to_contain_text("answers 10 %")
    expect(page.get_by_role("status").get_by_text("after the click")).to_contain_text("1 of 1 gateways")

    page.get_by_role("link", name="Compare versions").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("digits compared")
    expect(page.locator(".verdict")).to_contain_text(
        re.compile("4 is worse than 1|1 is better than 4"), timeout=PATIENCE_MS
    )

    page.get_by_role("link", name="Back to the model").click()
    page.get_by_role("button", name=f"Go back to revision {before}").click()
    page.get_by_label("Why (the history keeps it)").fill("4 is worse")
    back = copied(page)
    page.get_by_label("Type digits to confirm").fill("digits")
    page.get_by_role("button", name="Commit").click()
    expect(page.get_by_role("article", name="Version 1, primary")).to_contain_text("answers 100 %")

    page.get_by_role("link", name="Audit").click()
    page.get_by_label("Only those with").fill("4 is worse")
    found = page.get_by_role("region", name="Changes, newest first").locator("tbody tr")
    expect(found).to_have_count(1)
    expect(found).to_contain_text("stranger")

    for command, weights in ((move, [90, 10]), (back, [100])):
        done = in_terminal(command, control)
        assert done.returncode == 0, done.stderr
        route = demo.get("control", "/api/v1/routes/digits")
        assert [part["weight"] for part in route["document"]["split"]] == weights
        assert route["reason"] in ("let's see 4", "4 is worse")


def in_terminal(command: str, control: str) -> subprocess.CompletedProcess[str]:
    """As pasted into a shell."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "PATH": programs, "TURNOUT_CONTROL_URL": control},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
