"""Makes the pictures of the console in `docs/images`, from a running installation: `scripts/screenshots`.

python -m tests.browser.pictures http://127.0.0.1:8090 docs/images
"""

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.browser.chromium import launched

WIDTHS = {"wide": (1280, 800), "narrow": (390, 844)}
PAGES = {
    "overview": "/",
    "model": "/models/digits",
    "compare": "/models/digits/compare",
    "rollout": "/models/digits/rollout",
    "predictions": "/predictions",
    "versions": "/versions?model=digits",
    "fleet": "/fleet",
    "audit": "/audit",
    "session": "/session",
}
SETTLE_MS = 2500  # for what comes with the first seconds
MAX_HEIGHT = 1700


def main(url: str, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, launched(playwright) as browser:
        for width_name, (width, height) in WIDTHS.items():
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="light" if width_name == "wide" else "dark",
            )
            page = context.new_page()
            for name, path in PAGES.items():
                page.goto(f"{url}/console{path}")
                page.wait_for_timeout(SETTLE_MS)
                _take(page, directory / f"console-{name}-{width_name}.png", width)
            context.close()


def _take(page: Page, file: Path, width: int) -> None:
    height = min(MAX_HEIGHT, int(page.evaluate("document.documentElement.scrollHeight")))
    page.screenshot(path=file, clip={"x": 0, "y": 0, "width": width, "height": height}, full_page=True)
    print(f"{file} {file.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
