"""What is decided in a browser, and on what: policy, approvals, rollouts, comparisons, and who it is."""

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page, expect
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.version import Version
from gateway.store.documents import Change, Documents
from gateway.store.fleet import FleetStore
from gateway.store.predictions import Batch, Predictions
from tests.browser.conftest import Site
from tests.browser.test_console import opened, set_weight
from tests.control.world import SIGNATURE, announce, digest_of

HOSTILE = "<img src=x onerror='window.harmed = 1'><script>window.harmed = 1</script>"

# What a mistake that let HTML through would bring: without the policy all three would run.
INJECTED = """document.body.insertAdjacentHTML("beforeend",
  '<img src=x onerror="window.harmed = 2"><a id=bad href="javascript:window.harmed = 3">x</a>');
document.getElementById("bad").click();
document.body.append(Object.assign(document.createElement("script"), {textContent: "window.harmed = 4"}))"""


def put(site: Site, path: str, body: dict[str, Any], *, method: str = "PUT", key: str = "") -> Any:
    reply = httpx2.request(
        method, f"{site.url}/api/v1{path}", json=body, trust_env=False, timeout=60,
        headers={"authorization": f"Bearer {key}"} if key else {},
    )  # fmt: skip
    assert reply.is_success, reply.text
    return reply.json()


@pytest.fixture
def small_steps(site: Site) -> Iterator[Any]:
    """A policy that lets a version gain 20 points at most; the test says who may override it."""

    def write(override: str | None) -> None:
        policy = {"policy": "calm", "largest_step": 20, "override": override}
        put(site, "/policies/calm", {"policy": policy})

    yield write
    put(site, "/policies/calm", {}, method="DELETE")


def label_some(site: Site) -> None:
    """Version 1 answers and is often wrong; 3 got copies and is right."""
    fields: dict[str, float] = {}
    for name, right in (("p|1|", 60), ("s|3|", 98)):
        fields |= {
            name + "n": 100,
            name + "ok": 100,
            name + "us": 1e5,
            name + "h20": 100,
            name + "recorded": 100,
        }
        fields |= {name + "l": 100, name + "rows": 100, name + "right": right}
        fields |= {name + "c:4:4": right, name + "c:4:9": 100 - right}
        fields |= {f"x|x-tenant|acme|{name}{what}": 50 for what in ("n", "ok", "l", "rows", "right")}
    fields |= {"a|1|3|rows": 100, "a|1|3|agree": 62, "d|1|3|rows": 100, "d|1|3|b": 2, "d|1|3|c": 40}

    async def write(redis: Redis) -> None:
        minute = int(time.time() // 60)
        await Predictions(redis).write("digits", "test", Batch(time.time_ns(), [], {minute: fields}))

    site.call(write)


def test_policy_is_asked_before_the_commit_and_names_its_rule(
    page: Page, site: Site, small_steps: Any
) -> None:
    site.split(v1=90, v2=10)
    small_steps(None)
    opened(page, site, "/models/digits")
    set_weight(page, "2", "50")
    page.get_by_role("button", name="Version 1 takes the rest: 50 %").click()
    expect(page.get_by_text("turnout route split digits 1=50 2=50")).to_be_visible()
    page.get_by_role("button", name="Show what changes").first.click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("[calm.largest_step]")
    expect(page.get_by_role("button", name="Commit")).to_have_count(0)
    page.get_by_role("button", name="Close").click()

    set_weight(page, "2", "25")
    page.get_by_role("button", name="Version 1 takes the rest: 75 %").click()
    page.get_by_role("button", name="Show what changes").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("Policy allows it (calm)")


def test_an_override_needs_a_reason_and_the_name_and_is_in_the_audit(
    page: Page, site: Site, small_steps: Any
) -> None:
    site.split(v1=90, v2=10)
    small_steps("admin")
    opened(page, site, "/models/digits")
    set_weight(page, "2", "60")
    page.get_by_role("button", name="takes the rest").click()
    page.get_by_role("button", name="Show what changes").first.click()
    expect(page.get_by_role("list", name="What stands against it")).to_contain_text("calm.largest_step")
    expect(page.get_by_role("list", name="What changes").get_by_role("listitem")).to_have_count(2)
    commit = page.get_by_role("button", name="Commit against the rules")
    page.get_by_label("Type digits to confirm").fill("digits")
    expect(commit).to_be_disabled()
    page.get_by_label("Why (the history keeps it)").fill("it burns")
    expect(
        page.get_by_text("turnout route split digits 1=40 2=60 --force --reason 'it burns'")
    ).to_be_visible()
    commit.click()
    expect(page.get_by_role("status").get_by_text("1 of 1 gateways serve it")).to_contain_text(
        "after the click"
    )
    newest = site.get("/audit?limit=1")["entries"][0]
    assert newest["reason"] == "it burns"
    assert "calm.largest_step" in str(newest["forced"])


def test_an_approval_shows_its_evidence_and_is_not_the_authors(page: Page, site: Site) -> None:
    label_some(site)
    opened(page, site, "/versions?model=digits")
    card = page.get_by_role("region", name="Version 3").or_(page.locator("section[aria-label='Version 3']"))
    card.get_by_role("button", name="Approve …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("3 is better than 1 by")
    expect(dialog.get_by_text("turnout model approve digits 3 --hash")).to_be_visible()
    page.get_by_label("Your name, for the history").fill("test")
    dialog.get_by_role("button", name="Approve").click()
    expect(dialog.get_by_role("alert")).to_contain_text("somebody else has to approve it")
    page.get_by_label("Your name, for the history").fill("bo")
    page.get_by_label("What convinced you").fill("labels of a day")
    dialog.get_by_role("button", name="Approve").click()
    expect(card).to_contain_text("Approved by bo")
    given = {item["version"]: item for item in site.get("/models/digits/standings")["versions"]}["3"]
    assert [(item["by"], item["note"]) for item in given["approvals"]] == [("bo", "labels of a day")]


def test_two_versions_are_compared_down_to_slices_and_mistakes(page: Page, site: Site) -> None:
    site.split(v1=100)
    label_some(site)
    opened(page, site, "/models/digits/compare")
    expect(page.get_by_role("region", name="Confusion of Version 3 (shadow)")).to_be_visible()
    page.get_by_label("Candidate").click()
    page.get_by_role("option", name="3").click()
    matrix = page.get_by_role("region", name="Confusion of Version 1 (primary)")
    expect(matrix.locator("tbody tr").first.locator("td")).to_have_class(["hit", "miss"])
    expect(page.get_by_role("region", name="Slices of digits")).to_contain_text("acme")
    expect(page.get_by_role("img", name="accuracy over time")).to_be_visible()
    expect(page.get_by_text("turnout compare digits 1 3 --disagreements")).to_be_visible()


def test_a_rollout_is_started_paused_and_aborted_with_reasons(page: Page, site: Site) -> None:
    site.split(v1=100)
    opened(page, site, "/models/digits/rollout")
    page.get_by_label("Plan").click()
    page.get_by_role("option", name="demo", exact=True).click()
    expect(page.get_by_text("turnout rollout start digits --to 3 --plan demo")).to_be_visible()
    page.get_by_role("button", name="Show what would happen …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Version 3 instead of 1")
    expect(dialog).to_contain_text("4. cutover")
    page.get_by_label("Why (the history keeps it)").fill("nearest is best")
    dialog.get_by_role("button", name="Start").click()
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    page.get_by_role("button", name="Pause …").click()
    page.get_by_role("button", name="Do it").click()
    expect(page.get_by_text("paused", exact=True).first).to_be_visible()
    opened(page, site, "/")
    expect(page.get_by_text("version 3 instead of 1")).to_be_visible()
    opened(page, site, "/models/digits/rollout")
    page.get_by_role("button", name="Abort, back to the route before …").click()
    page.get_by_label("Type digits to confirm").fill("digits")
    page.get_by_role("button", name="Do it").click()
    expect(page.get_by_text("aborted", exact=True).first).to_be_visible()
    assert site.get("/models/digits/rollout")["phase"] == "aborted"


def test_a_gateway_that_lags_is_named_where_its_model_is_shown(page: Page, site: Site) -> None:
    site.split(v1=80, v2=20)
    site.call(lambda redis: announce(redis, "gw-9", 1))
    opened(page, site, "/models/digits")
    expect(page.locator(".problems")).to_contain_text("gateway 127.0.0.1:9080 is still at revision 1")
    site.call(lambda redis: FleetStore(redis).forget_gateway("gw-9"))


def test_hostile_names_and_cards_are_text_and_scripts_need_the_nonce(page: Page, site: Site) -> None:
    version = Version(
        model="digits", version="66", digest=digest_of("66"), size_bytes=1, signature=SIGNATURE,
        notes=HOSTILE, owner=HOSTILE, tags={"t": HOSTILE},
        card=f"# Card\n{HOSTILE}\n[x](javascript:window.harmed=1)",
    )  # fmt: skip

    async def register(redis: Redis) -> None:
        change = Change(
            keys.version_field("digits", "66"), version.model_dump(mode="json"), expected_revision=None
        )
        await Documents(redis).commit([change], author=HOSTILE[:100], reason=HOSTILE, op_id="hostile")

    site.call(register)
    for path in ("/versions?model=digits", "/audit", "/models/digits"):
        opened(page, site, path)
    opened(page, site, "/versions?model=digits")
    page.get_by_text("Model card").click()
    expect(page.locator("pre").get_by_text("onerror")).to_be_visible()
    page.evaluate(INJECTED)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("window.harmed") is None


def test_who_signs_in_may_do_what_the_key_may_until_it_is_revoked(page: Page, site: Site) -> None:
    """The last of this file: keys stay on."""
    site.split(v1=80, v2=20)
    opened(page, site, "/models/digits")
    admin = put(site, "/keys", {"name": "root", "role": "admin"}, method="POST")["key"]
    expect(page.get_by_role("heading", level=1)).to_have_text("Who you are")
    made = put(site, "/keys", {"name": "eve", "role": "viewer"}, method="POST", key=admin)
    page.get_by_label("Key of the control API").fill(made["key"])
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_text("You are eve, viewer for all models.")).to_be_visible()
    assert made["key"] not in page.content()
    page.get_by_role("link", name="Back to where you were").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("digits")
    assert page.url == f"{site.url}/console/models/digits"
    expect(page.get_by_role("link", name="eve (viewer)")).to_be_visible()
    expect(page.get_by_text("eve is a viewer: you may look at all this, and change nothing.")).to_be_visible()
    set_weight(page, "2", "30")
    page.get_by_role("button", name="takes the rest").click()
    page.get_by_role("button", name="Show what changes").first.click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("this needs the role operator")
    put(site, f"/keys/{made['key_id']}", {}, method="DELETE", key=admin)
    expect(page.get_by_role("heading", level=1)).to_have_text("Who you are")
    wish = {"name": "bob", "role": "operator", "models": ["other"]}
    page.get_by_label("Key of the control API").fill(
        put(site, "/keys", wish, method="POST", key=admin)["key"]
    )
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_text("You are bob, operator for other.")).to_be_visible()
    page.goto(f"{site.url}/console/models/digits")
    expect(page.get_by_role("alert")).to_contain_text("the key bob is not for digits")
    expect(page.get_by_role("article")).to_have_count(0)
    page.goto(f"{site.url}/console/session")
    page.get_by_role("button", name="Forget me").click()
    expect(page.get_by_text("Forgotten: the next page asks anew who you are.")).to_be_visible()
    page.goto(f"{site.url}/console/models/digits")
    expect(page.get_by_role("heading", level=1)).to_have_text("Who you are")
