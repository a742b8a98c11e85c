"""What waits for workers: changes that start them first, routes that follow an alias; and the fleet."""

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect
from redis.asyncio import Redis

from gateway.contract import keys
from gateway.contract.pool import Lack, Supervision
from tests.browser.conftest import Site
from tests.browser.test_console import opened, set_weight
from tests.browser.test_decisions import put
from tests.control.world import LONG_FROM_NOW_MS, add_versions, add_worker

WITHIN_S = 10.0


def supervise(site: Site, **lacks: Lack) -> None:
    """A supervisor that lives; what it lacks is of versions of digits: `v5=...`."""
    told = Supervision(
        supervisor_id="north", host="north", pid=1, started_ms=1, workers=1, max_workers=9,
        lacks={f"digits {name.removeprefix('v')}": lack for name, lack in lacks.items()},
    )  # fmt: skip

    async def write(redis: Redis) -> None:
        entry = f"{LONG_FROM_NOW_MS} {told.model_dump_json(exclude={'seen_ms'})}"
        await redis.hset(keys.SUPERVISORS, told.supervisor_id, entry)

    site.call(write)


def until(holds: Callable[[], bool]) -> None:
    limit_s = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < limit_s, f"not within {WITHIN_S} s"


def pool_of(site: Site, version: str) -> Any:
    return site.get(f"/models/digits/versions/{version}")["pool"]


def weights(site: Site) -> list[tuple[str, float]]:
    return [(part["version"], part["weight"]) for part in site.get("/routes/digits")["document"]["split"]]


def test_a_change_starts_the_workers_that_it_needs_and_then_commits(page: Page, site: Site) -> None:
    site.split(v1=100)
    site.call(lambda redis: add_versions(redis, "5"))
    supervise(site)
    opened(page, site, "/models/digits")
    set_weight(page, "5", "10")
    page.get_by_role("button", name="Version 1 takes the rest: 90 %").click()
    page.get_by_role("button", name="Show what changes").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("No worker of version 5 is ready")
    expect(dialog.get_by_text("turnout pools start digits 5")).to_be_visible()
    expect(dialog.get_by_text("turnout route split digits 1=90 5=10")).to_be_visible()
    dialog.get_by_role("button", name="Start workers of 5, then commit").click()
    until(lambda: "asked for" in pool_of(site, "5")["reasons"])
    expect(dialog.get_by_role("status")).to_contain_text("Version 5: 0 of 1 ready")
    assert weights(site) == [("1", 100)], "nothing moves before a worker is ready"
    site.call(lambda redis: add_worker(redis, "5"))
    expect(page.locator(".told")).to_contain_text("1 of 1 gateways serve it")
    assert weights(site) == [("1", 90), ("5", 10)]


def test_workers_that_cannot_start_change_nothing_and_say_why(page: Page, site: Site) -> None:
    site.split(v1=100)
    site.call(lambda redis: add_versions(redis, "6"))
    crashing = Lack(
        sentence="crash loop: failed 3 times in a row (no such file); next try in 9 s", is_stuck=True
    )
    supervise(site, v6=crashing)
    opened(page, site, "/models/digits")
    page.get_by_role("combobox", name="Version").click()
    page.get_by_role("option", name="6", exact=True).click()
    page.get_by_role("button", name="Cut over …").click()
    dialog = page.get_by_role("dialog", name="Cut over to version 6")
    dialog.get_by_label("Type digits to confirm").fill("digits")
    dialog.get_by_role("button", name="Start workers of 6, then commit").click()
    expect(dialog.get_by_role("alert")).to_contain_text("crash loop: failed 3 times in a row (no such file)")
    assert weights(site) == [("1", 100)]

    opened(page, site, "/fleet")
    row = page.get_by_role("region", name="Pools").get_by_role("row").filter(has_text="asked for")
    row = row.filter(has_text="no such file")
    expect(row).to_contain_text("stops in 5 min")
    expect(row.get_by_text("turnout pools start digits 6")).to_be_visible()


def test_a_rollout_begins_after_the_workers_of_its_candidate(page: Page, site: Site) -> None:
    site.split(v1=100)
    site.call(lambda redis: add_versions(redis, "7"))
    supervise(site)
    opened(page, site, "/models/digits/rollout")
    page.get_by_label("Candidate").click()
    page.get_by_role("option", name="7", exact=True).click()
    page.get_by_role("button", name="Show what would happen …").click()
    page.get_by_role("button", name="Start workers of 7, then show what would happen").click()
    until(lambda: "asked for" in pool_of(site, "7")["reasons"])
    site.call(lambda redis: add_worker(redis, "7"))
    expect(page.get_by_role("dialog").last).to_contain_text("Version 7 instead of 1")


def test_an_alias_is_moved_and_its_follower_that_waits_needs_somebody(page: Page, site: Site) -> None:
    site.split(v1=100)
    site.call(lambda redis: add_versions(redis, "8"))
    put(site, "/models/digits/aliases/champion", {"version": "1"})
    site.edit({"kind": "follow", "follow": {"alias": "champion", "plan": None}})
    policy = {"policy": "named", "aliases": [{"names": ["champion"], "states": ["approved"]}]}
    put(site, "/policies/named", {"policy": policy})
    opened(page, site, "/versions?model=digits")
    move = page.get_by_role("button", name="Move it …")
    expect(move).to_be_disabled()
    page.get_by_role("combobox", name="Version").click()
    page.get_by_role("option", name="8", exact=True).click()
    expect(page.get_by_text("turnout alias set digits champion 8")).to_be_visible()
    move.click()
    dialog = page.get_by_role("dialog", name="Let champion mean version 8")
    expect(dialog).to_contain_text("It means version 1 now.")
    expect(dialog).to_contain_text(
        "the route of digits follows champion: it goes there with all requests at once"
    )
    expect(dialog.get_by_role("list", name="What stands against it")).to_contain_text("[named.")
    dialog.get_by_label("Why (the history keeps it)").fill("night shift")
    dialog.get_by_label("Type digits to confirm").fill("digits")
    expect(
        dialog.get_by_text("turnout alias set digits champion 8 --force --reason 'night shift'")
    ).to_be_visible()
    dialog.get_by_role("button", name="Move it against the rules").click()
    expect(page.locator(".told")).to_contain_text("champion of digits is version 8")
    expect(page.get_by_text("champion is version 8")).to_be_visible()

    opened(page, site, "/models/digits")
    expect(page.get_by_text("The route follows champion (version 8) at once:")).to_be_visible()
    expect(page.get_by_text("version 8 of digits has no ready worker").first).to_be_visible()
    opened(page, site, "/")
    expect(page.get_by_role("region", name="What needs you")).to_contain_text(
        "the route of digits does not follow champion to version 8 yet, waiting"
    )
    put(site, "/policies/named", {}, method="DELETE")
