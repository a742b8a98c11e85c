"""What an operator sees and does in a browser, from end to end."""

import os
import signal
import socket
from typing import Any, Literal

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Site

PAGES = {
    "/": "Overview",
    "/models/digits": "digits",
    "/models/digits/compare": "digits compared",
    "/models/digits/rollout": "Rollout of digits",
    "/predictions": "Predictions",
    "/versions?model=digits": "Versions",
    "/fleet": "Fleet",
    "/audit": "Audit",
    "/session": "Who you are",
}
SEVERE = {"serious", "critical"}
FADING = {"exclude": [["#popup"]]}  # "Connection lost", which a busy machine shows for a moment: half there


def opened(page: Page, site: Site, path: str) -> Page:
    page.goto(f"{site.url}/console{path}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    return page


def set_weight(page: Page, version: str, percent: str) -> None:
    page.get_by_label(f"Version {version} answers, percent", exact=True).fill(percent)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_renders_within_its_width_and_is_accessible(page: Page, site: Site, path: str) -> None:
    site.split(v1=90, v2=10)
    opened(page, site, path)
    expect(page.get_by_role("heading", level=1)).to_have_text(PAGES[path])
    looks: tuple[tuple[int, Literal["light", "dark"]], ...] = ((1280, "light"), (390, "dark"))
    for width, scheme in looks:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 844})
        expect(page.locator(f"body.body--{scheme}")).to_be_attached()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page, FADING).response["violations"]
        severe = [item for item in found if item["impact"] in SEVERE]
        assert [(item["id"], item["nodes"][0]["html"]) for item in severe] == []


def test_a_weight_is_changed_after_its_differences_were_seen(page: Page, site: Site) -> None:
    site.split(v1=90, v2=10)
    opened(page, site, "/models/digits")
    set_weight(page, "1", "70")
    expect(page.get_by_text("the weights sum to 80, not to 100")).to_be_visible()
    expect(page.get_by_role("button", name="Show what changes").first).to_be_disabled()
    set_weight(page, "2", "30")
    expect(page.get_by_text("turnout route split digits 1=70 2=30")).to_be_visible()
    page.get_by_role("button", name="Show what changes").first.click()
    expect(page.get_by_role("list", name="What changes").get_by_role("listitem")).to_have_text(
        ["split.1: 90 -> 70", "split.2: 10 -> 30"]
    )
    assert site.get("/routes/digits")["document"]["split"][0]["weight"] == 90, "nothing is written by a look"
    page.get_by_label("Your name, for the history").fill("bo")
    page.get_by_label("Why (the history keeps it)").fill("more <b>canary</b>")
    page.get_by_role("button", name="Commit").click()
    expect(page.locator(".told")).to_contain_text("1 of 1 gateways serve it")
    route = site.get("/routes/digits")
    assert (route["author"], route["reason"]) == ("bo", "more <b>canary</b>")
    assert [part["weight"] for part in route["document"]["split"]] == [70, 30]
    expect(page.get_by_text("more <b>canary</b>").first).to_be_visible()
    expect(page.get_by_role("article", name="Version 2, primary")).to_contain_text("answers 30 %")


def test_of_two_operators_the_second_is_told_who_was_first(page: Page, site: Site) -> None:
    site.split(v1=90, v2=10)
    opened(page, site, "/models/digits")
    set_weight(page, "1", "50")
    set_weight(page, "2", "50")
    page.get_by_role("button", name="Show what changes").first.click()
    expect(page.get_by_role("button", name="Commit")).to_be_enabled()
    site.split(v1=80, v2=20, by="cy@desk", why="mine first")
    expect(page.get_by_text("cy@desk changed this route meanwhile")).to_be_attached()
    page.get_by_role("button", name="Commit").click()
    alert = page.get_by_role("dialog").get_by_role("alert")
    expect(alert).to_contain_text("cy@desk")
    expect(alert).to_contain_text("mine first")
    expect(page.get_by_role("button", name="Commit")).to_be_disabled()
    assert [part["weight"] for part in site.get("/routes/digits")["document"]["split"]] == [80, 20]


def test_a_dialog_stays_while_the_page_behind_it_changes(page: Page, site: Site) -> None:
    first = site.split(v1=90, v2=10)
    site.split(v1=10, v2=90)
    opened(page, site, "/models/digits")
    page.get_by_role("button", name=f"Go back to revision {first}").click()
    page.get_by_label("Why (the history keeps it)").fill("typed long ago")
    newest = site.split(v1=20, v2=80)
    expect(page.get_by_text(f"revision {newest} by")).to_be_attached()
    expect(page.get_by_label("Why (the history keeps it)")).to_have_value("typed long ago")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_one_operator_does_the_other_sees_without_reloading(
    page: Page, site: Site, browser: Browser
) -> None:
    site.split(v1=90, v2=10)
    opened(page, site, "/models/digits")
    other = browser.new_page()
    opened(other, site, "/")
    set_weight(page, "1", "60")
    set_weight(page, "2", "40")
    page.get_by_role("button", name="Show what changes").first.click()
    page.get_by_role("button", name="Commit").click()
    expect(other.get_by_role("img", name="Split: version 1 60 %, version 2 40 %")).to_be_visible()
    other.close()


def test_a_rollback_is_confirmed_by_typing_the_name(page: Page, site: Site) -> None:
    first = site.split(v1=90, v2=10)
    site.split(v1=10, v2=90)
    opened(page, site, "/models/digits")
    page.get_by_role("button", name=f"Go back to revision {first}").click()
    commit = page.get_by_role("button", name="Commit")
    expect(commit).to_be_disabled()
    expect(
        page.get_by_role("dialog").get_by_text(f"turnout route rollback digits --to {first}")
    ).to_be_visible()
    page.get_by_label("Type digits to confirm").fill("digit")
    expect(commit).to_be_disabled()
    page.get_by_label("Type digits to confirm").fill("digits")
    commit.click()
    expect(page.get_by_role("article", name="Version 1, primary")).to_contain_text("answers 90 %")


def test_a_cutover_tells_what_its_workers_answered(page: Page, site: Site) -> None:
    site.split(v1=100)
    opened(page, site, "/models/digits")
    page.get_by_role("button", name="Cut over …").click()
    expect(page.get_by_role("dialog")).to_contain_text("answered a test inference")
    page.get_by_label("Type digits to confirm").fill("digits")
    page.get_by_role("button", name="Commit").click()
    expect(page.get_by_text("turnout cutover digits --back")).to_be_visible()
    assert site.get("/routes/digits")["document"]["slots"]["live"] == "green"


def test_times_are_in_the_viewers_zone(page: Page, site: Site) -> None:
    site.split(v1=90, v2=10)
    opened(page, site, "/audit")
    expect(page.locator("time").first).to_be_visible()
    title = page.locator("time").first.get_attribute("title")
    assert title is not None
    assert "GMT+9" in title or "Japan" in title


def test_a_page_works_with_the_keyboard_alone(page: Page, site: Site) -> None:
    opened(page, site, "/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


# What has the focus: what a screen reader calls it, and whether one sees that it is there.
FOCUS = """() => {
  const e = document.activeElement, style = getComputedStyle(e);
  const name = e.ariaLabel || e.labels?.[0]?.textContent || e.textContent.trim();
  const ring = style.outlineStyle !== "none" || style.boxShadow !== "none" || e.closest(".q-field--focused");
  return [e.tagName, name, Boolean(ring)];
}"""


def test_whatever_tab_reaches_has_a_name_and_shows_that_it_is_there(page: Page, site: Site) -> None:
    site.split(v1=90, v2=10)
    opened(page, site, "/models/digits")
    expect(page.get_by_role("slider").first).to_be_visible()
    stops: list[Any] = []
    while not stops or stops[-1][1] != "Cut over …":
        assert len(stops) < 60, stops
        page.keyboard.press("Tab")
        stops.append(page.evaluate(FOCUS))
    assert [stop for stop in stops if not stop[1] or not stop[2]] == []


def test_changes_are_found_in_the_audit_in_any_case_and_none_found_is_said(page: Page, site: Site) -> None:
    site.split(v1=70, v2=30, why="Canary of Tuesday")
    opened(page, site, "/audit")
    page.get_by_label("Only those with").fill("canary of tuesday")
    expect(page.get_by_role("region", name="Changes").locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("region", name="Changes")).to_contain_text("Canary of Tuesday")
    page.get_by_label("Only those with").fill("no such words")
    expect(page.get_by_text("changes has “no such words” in its words")).to_be_visible()


def test_only_a_command_that_would_be_taken_is_offered(page: Page, site: Site) -> None:
    site.split(v1=90, v2=10)
    opened(page, site, "/models/digits")
    expect(page.get_by_text("turnout route split digits 1=90 2=10")).to_be_visible()
    set_weight(page, "1", "70")
    expect(page.get_by_text("turnout route split digits")).to_be_hidden()


def test_the_console_says_how_the_terminal_reaches_it(page: Page, site: Site) -> None:
    opened(page, site, "/session")
    expect(page.get_by_text(f"export TURNOUT_CONTROL_URL={site.url}")).to_be_visible()
    expect(page.get_by_text("TURNOUT_KEY")).to_have_count(0)


def test_an_unknown_prediction_is_said_with_the_command(page: Page, site: Site) -> None:
    opened(page, site, "/predictions")
    page.get_by_label("Prediction id").fill("order-1")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_text("digits has no prediction order-1")).to_be_visible()
    expect(page.get_by_text("turnout explain --model digits --prediction-id order-1")).to_be_visible()
    page.get_by_label("Unit (user, device)").fill("alice")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_text("A request to digits, now")).to_be_visible()


def test_what_is_served_may_not_be_framed_nor_reach_other_sites(site: Site) -> None:
    reply = httpx2.get(f"{site.url}/console/", trust_env=False, timeout=20)
    policy = reply.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "connect-src 'self'" in policy
    again = httpx2.get(f"{site.url}/console/", trust_env=False, timeout=20)
    assert again.headers["content-security-policy"] != policy, "a nonce is for one page"
    told = {"x-frame-options": "DENY", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
    assert told.items() <= dict(reply.headers).items()
    assert reply.headers["cross-origin-opener-policy"] == "same-origin"
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    missing = httpx2.get(f"{site.url}/api/v1/nothing", trust_env=False)
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert "content-security-policy" not in missing.headers


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("{own}", "http://{own}", 101),
        ("{own}", "http://evil.example", 403),
        ("{own}", None, 403),
        ("evil.example", "http://evil.example", 403),
    ],
)
def test_a_websocket_comes_from_a_page_of_the_console_only(
    site: Site, host: str, origin: str | None, status: int
) -> None:
    own = site.url.removeprefix("http://")
    name, _, port = own.partition(":")
    lines = [
        "GET /console/_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: {host.format(own=own)}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *([] if origin is None else [f"Origin: {origin.format(own=own)}"]),
    ]
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        assert int(connection.recv(4096).split(b" ")[1]) == status


def test_redis_away_is_a_banner_over_what_was_known(page: Page, site: Site) -> None:
    """The last of this file: Redis does not come back."""
    site.split(v1=90, v2=10)
    opened(page, site, "/models/digits")
    expect(page.get_by_role("article", name="Version 1, primary")).to_be_visible()
    os.kill(site.redis_server.pid, signal.SIGKILL)
    expect(page.get_by_role("alert")).to_contain_text("Redis is away")
    expect(page.get_by_role("alert")).to_contain_text("What is shown was known at")
    expect(page.get_by_role("article", name="Version 1, primary")).to_contain_text("answers 90 %")
