"""The guides and a few pages beside them: every command, run by bash in the page's order against a real demo.

A block whose info string is `sh` is run. `# exits with N` at a line's end says that it fails so. A block
`sh no-run: WHY` is not run, and says why.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import ROOT, Up, until

DOCS = ROOT / "docs"
PAGES = [
    *sorted((DOCS / "guides").glob("*.md")),
    *sorted((DOCS / "migrate").glob("*.md")),
    *(DOCS / name for name in ("load-testing.md", "cli.md", "observability.md")),
]
FENCE = re.compile(r"^```(\S*) *([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FAILS = re.compile(r"^(.*?) +# exits with (\d+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("guides") / "data", "--demo")
    try:
        yield running.until_up()
    finally:
        running.destroy()


def script(page: str) -> str:
    blocks = [body for language, why, body in FENCE.findall(page) if language == "sh" and not why]
    text = FAILS.sub(r"code=0; \1 || code=$?; [ $code -eq \2 ]", "\n".join(blocks))
    return "trap 'echo \"failed: $BASH_COMMAND\" >&2' ERR\n" + text


def starting(demo: Up) -> list[str]:
    """Problems that pass by themselves."""
    problems: list[str] = demo.get("control", "/api/v1/status")["problems"]
    return [problem for problem in problems if "workers ready" in problem]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_guide_does_what_it_is_there_for(demo: Up, page: Path, tmp_path: Path) -> None:
    (tmp_path / "config").symlink_to(ROOT / "config")
    until(lambda: not starting(demo))  # what the page before it has started
    text = page.read_text()
    assert "```sh" in text, "a guide without a command"
    for name, usual in (("gateway", "127.0.0.1:8080"), ("control", "127.0.0.1:8090")):
        text = text.replace(usual, demo.address(name).removeprefix("http://"))
    text = text.replace("127.0.0.1:8082", demo.output.partition("metrics at http://")[2].partition("/")[0])
    done = subprocess.run(
        ["bash", "-eE", "-o", "pipefail", "-c", script(text)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "TURNOUT_CONTROL_URL": demo.address("control"),
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_every_block_that_is_not_run_says_why() -> None:
    for page in PAGES:
        for language, why, _ in FENCE.findall(page.read_text()):
            if language in ("sh", "bash", "console", ""):
                assert language == "sh", f"{page.name}: call a block of commands `sh`"
                assert not why or why.startswith("no-run: "), f"{page.name}: {why}"


def test_a_command_that_fails_fails_the_page() -> None:
    page = "```sh\ntrue\n```\n```sh\nfalse\ntrue\n```\n"
    assert subprocess.run(["bash", "-eE", "-c", script(page)], check=False, capture_output=True).returncode
    page = "```sh\nfalse  # exits with 1\n```\n"
    assert not subprocess.run(["bash", "-eE", "-c", script(page)], check=False).returncode
    page = "```sh\ntrue  # exits with 1\n```\n"
    assert subprocess.run(["bash", "-eE", "-c", script(page)], check=False, capture_output=True).returncode
