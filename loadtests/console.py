"""What the web console costs and how fast it is: `python -m loadtests.console`.

A real control process with its console, two gateway processes, Redis; 50 models with three versions each. The
evidence is written as gateways write it, five times a second: 1,000 requests a second for one model, with
shadow copies and labels, and 10 for each other. Five browsers of Chromium look on.
"""

import argparse
import asyncio
import contextlib
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from gateway.store.connection import connect
from gateway.store.predictions import Batch, Predictions
from loadtests.cpu import tree_time
from loadtests.installation import documents, gateway, lease, redis_with, renewed
from loadtests.measure import save, say
from loadtests.started import cores, free_port, started, wait_for_port
from tests.browser.chromium import launched

BROWSERS = 5
BUSY = "model-00"
BUSY_PER_S = 1000
EACH_PER_S = 10
WRITES_PER_S = 5
SETTLE_S = 5.0
PATIENCE_MS = 60_000
PAGES = {
    "overview": "/",
    "model": f"/models/{BUSY}",
    "compare": f"/models/{BUSY}/compare",
    "rollout": f"/models/{BUSY}/rollout",
    "versions": f"/versions?model={BUSY}",
    "predictions": "/predictions",
    "fleet": "/fleet",
    "audit": "/audit",
    "session": "/session",
}
# What is measured -> (in words, at most, unit)
TARGETS = {
    "cold_ms": ("the first page of all, which loads the console", 4000, "ms"),
    "overview_ms": ("Overview, 50 models: first content (median)", 1000, "ms"),
    "model_ms": ("a model at 1,000 requests/s: first content (median)", 1000, "ms"),
    "overview_cpu_percent": (f"control CPU, {BROWSERS} browsers at the Overview", 20, "% of a core"),
    "model_cpu_percent": (f"control CPU, {BROWSERS} browsers at a model", 20, "% of a core"),
    "overview_pause_ms": ("Overview: time between two changes in a browser (median)", 1100, "ms"),
    "model_pause_ms": ("a model: time between two changes in a browser (median)", 1100, "ms"),
    "button_ms": ("from a click to 'all gateways serve it' on the page (median)", 1000, "ms"),
    "button_most_ms": ("the same, the slowest of 5", 1000, "ms"),
    "button_said_ms": ("of which until the last gateway served it (median)", 1000, "ms"),
    "severe_findings": ("serious findings of axe and pages too wide, 36 looks", 0, ""),
}
COUNT_CHANGES = """() => {
  window.changes = [];
  const seen = new MutationObserver(() => window.changes.push(performance.now()));
  for (const value of document.querySelectorAll(".clients .value, .rate"))
    seen.observe(value, {childList: true, characterData: true, subtree: true});
}"""


def batch_of(requests: int) -> dict[str, float]:
    """What one write says of so many requests: a fifth of them to version 2, copies to version 3, labels."""
    fields: dict[str, float] = {}
    for role, version, share, good in (("p", "1", 0.8, 0.85), ("p", "2", 0.2, 0.97), ("s", "3", 1.0, 0.98)):
        n = max(1, round(requests * share))
        right = min(n, round(n * good))
        name = f"{role}|{version}|"
        fields |= {name + "n": n, name + "ok": n, name + "us": 1500 * n, name + "recorded": n}
        fields |= {name + "l": n, name + "rows": n, name + "right": right, f"{name}h20": n}
        fields |= {f"{name}c:1:1": right, f"{name}c:1:2": n - right}
    return fields


@contextlib.contextmanager
def evidence(url: str, models: list[str]) -> Iterator[None]:
    """Written until the block ends, at the pace of the clock."""
    ended = threading.Event()

    async def write() -> None:
        redis = connect(url, name="bench", timeout_s=10)
        predictions, serial = Predictions(redis), 0
        began_s = time.monotonic()
        while not ended.is_set():
            serial += 1
            minute = int(time.time() // 60)
            for model in models:
                per_s = BUSY_PER_S if model == BUSY else EACH_PER_S
                fields = batch_of(per_s // WRITES_PER_S)
                await predictions.write(model, "bench", Batch(serial, [], {minute: fields}))
            await asyncio.sleep(max(0.0, began_s + serial / WRITES_PER_S - time.monotonic()))
        await redis.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(write()), name="evidence", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def control(url: str, directory: Path) -> Iterator[tuple[str, int]]:
    """The console's address, and the pid of its process."""
    port, log = free_port(), directory / "control.log"
    command = [
        *(sys.executable, "-m", "gateway.cli.main", "control", "--port", str(port)),
        *("--redis-url", url, "--artifacts", str(directory / "artifacts")),
    ]
    with started(command, core=cores()[1], log=log) as pid:
        wait_for_port(port, pid=pid, log=log)
        yield f"http://127.0.0.1:{port}/console", pid


def first_content_ms(page: Page, url: str) -> float:
    """From the navigation to the page's own heading; what Chromium counts as its first content is earlier."""
    began_s = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.locator(".model:not(.heads), .lane, h1").last.wait_for()
    return (time.perf_counter() - began_s) * 1000


def watched(contexts: list[BrowserContext], url: str, pid: int, *, seconds: float) -> dict[str, float]:
    """All browsers at one page: CPU of the control process, and how often what they show changes."""
    pages = [context.new_page() for context in contexts]
    for page in pages:
        first_content_ms(page, url)
    time.sleep(SETTLE_S)
    for page in pages:
        page.evaluate(COUNT_CHANGES)
    before, began_s = tree_time(pid), time.perf_counter()
    time.sleep(seconds)
    took_s = time.perf_counter() - began_s
    spent = (tree_time(pid) - before).total_s
    changes = [page.evaluate("window.changes") for page in pages]
    for page in pages:
        page.close()
    gaps = [later - sooner for times in changes for sooner, later in pairwise(times)]
    return {
        "cpu_percent": 100 * spent / took_s,
        "pause_ms": statistics.median(gaps) if gaps else float("inf"),
        "longest_pause_ms": max(gaps, default=float("inf")),
    }


# The browser's own clock: what drives it waits for animations and looks only now and then.
COUNT_CLICK = """() => {
  window.clicked = window.told = 0;
  addEventListener("click", () => { window.clicked = window.clicked || performance.now(); }, true);
  new MutationObserver(() => {
    if (window.clicked && !window.told && document.body.innerText.includes("gateways serve it"))
      window.told = performance.now();
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


def button_ms(page: Page, url: str, rounds: int) -> list[tuple[float, float]]:
    """From the click to the page's word that all gateways serve it; and what the control process counted."""
    found = []
    for number in range(rounds):
        first_content_ms(page, url)
        share = 20 + number
        page.get_by_label("Version 2 answers, percent", exact=True).fill(str(share))
        page.get_by_role("button", name="takes the rest").click()
        page.get_by_role("button", name="Show what changes").first.click()
        commit = page.get_by_role("button", name="Commit", exact=True)
        commit.wait_for()
        told = page.get_by_role("status").get_by_text("gateways serve it")
        page.evaluate(COUNT_CLICK)
        commit.click()
        told.first.wait_for()
        took_ms = page.evaluate("window.told - window.clicked")
        said = re.search(r"(\d+) of (\d+) gateways serve it, (\d+) ms", told.first.inner_text())
        assert said is not None, told.first.inner_text()
        assert said[1] == said[2], told.first.inner_text()
        found.append((took_ms, float(said[3])))
    return found


def severe_findings(browser: Browser, url: str) -> list[str]:
    """What axe finds serious or critical, on every page, at both widths, light and dark."""
    found = []
    for scheme in ("light", "dark"):
        for width in (1280, 390):
            context = browser.new_context(
                viewport={"width": width, "height": 844},
                color_scheme="light" if scheme == "light" else "dark",
            )
            page = context.new_page()
            for name, path in PAGES.items():
                first_content_ms(page, url + path)
                page.wait_for_timeout(1200)
                found += [
                    f"{name} {width} {scheme}: {item['id']} {item['nodes'][0]['html'][:100]}"
                    for item in Axe().run(page).response["violations"]
                    if item["impact"] in ("serious", "critical")
                ]
                if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
                    found.append(f"{name} {width} {scheme}: is {wide} wide")
            context.close()
    return found


def measure(*, models: int, seconds: float, directory: Path, has_axe: bool) -> None:
    names = [f"model-{number:02d}" for number in range(models)]
    wanted = {field: doc for name in names for field, doc in documents(name, shadow="3").items()}
    leases = [lease(name, version, 9) for name in names for version in ("1", "2", "3")]
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(redis_with(wanted, directory / "redis", core=cores()[0]))
        stack.enter_context(renewed(redis.url, leases))
        for number in range(2):
            own = directory / f"gateway-{number}"
            own.mkdir()
            stack.enter_context(gateway(own, redis_url=redis.url, core=cores()[0]))
        url, pid = stack.enter_context(control(redis.url, directory))
        stack.enter_context(evidence(redis.url, names))
        browser = stack.enter_context(launched(stack.enter_context(sync_playwright())))
        contexts = [browser.new_context(viewport={"width": 1280, "height": 900}) for _ in range(BROWSERS)]
        for context in contexts:
            context.set_default_timeout(PATIENCE_MS)
        page = contexts[0].new_page()
        found: dict[str, float] = {"cold_ms": first_content_ms(page, f"{url}/")}
        for name in ("overview", "model"):
            loads = [first_content_ms(page, url + PAGES[name]) for _ in range(7)]
            page.goto("about:blank")
            time.sleep(SETTLE_S)
            seen = watched(contexts, url + PAGES[name], pid, seconds=seconds)
            found |= {f"{name}_ms": statistics.median(loads)} | {f"{name}_{k}": v for k, v in seen.items()}
        clicks = button_ms(page, url + PAGES["model"], 5)
        found |= {"button_ms": statistics.median(took for took, _ in clicks)}
        found |= {"button_most_ms": max(took for took, _ in clicks)}
        found |= {"button_said_ms": statistics.median(said for _, said in clicks)}
        if has_axe:
            severe = severe_findings(browser, url)
            found["severe_findings"] = len(severe)
            for line in severe:
                say(f"  {line}")
        for context in contexts:
            context.close()
    for name, (words, most, unit) in TARGETS.items():
        if name in found:
            missed = "" if found[name] <= most else "  MISSED"
            print(f"{words:<62} {most:>6g} {found[name]:>8.1f} {unit}{missed}")
    save("console", {"summary": found})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long CPU is counted at each page")
    parser.add_argument("--no-axe", action="store_true", help="leave the look for findings out")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        measure(models=args.models, seconds=args.seconds, directory=Path(directory), has_axe=not args.no_axe)


if __name__ == "__main__":
    main()
