"""`python -m reference` writes the pages of docs/reference; with `--check` it only says which are old."""

import sys
from collections.abc import Callable
from pathlib import Path

from reference import api, cli, metrics, settings

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli.page,
    "settings.md": settings.page,
    "metrics.md": metrics.page,
    "api.md": api.page,
}


def old_pages() -> dict[str, str]:
    """What is to be written: name -> text."""
    found = {}
    for name, page in PAGES.items():
        text, file = page(), FOLDER / name
        if not file.is_file() or file.read_text() != text:
            found[name] = text
    return found


def main(arguments: list[str]) -> int:
    old = old_pages()
    if arguments == ["--check"]:
        for name in old:
            print(f"docs/reference/{name} is old: run scripts/reference", file=sys.stderr)
        return 1 if old else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in old.items():
        (FOLDER / name).write_text(text)
        print(f"docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
