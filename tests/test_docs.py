"""What the documentation says in tables, compared with the code."""

import re
from pathlib import Path

import pytest

from gateway.contract.errors import STATUS_OF
from gateway.contract.feedback import FeedbackResult
from gateway.contract.plan import Metric, Plan
from gateway.contract.rollout import Outcome, Phase
from tests.commands import commands, problem

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_table_of_errors_has_every_code_with_its_status() -> None:
    page = (ROOT / "docs" / "http-api.md").read_text()
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE)
    assert {code: int(status) for code, status in rows} == STATUS_OF


def test_every_result_of_feedback_is_explained() -> None:
    page = (ROOT / "docs" / "http-api.md").read_text()
    section = page.partition("## Feedback")[2]
    assert set(re.findall(r"^\| `([a-z]+)` \| \d{3} \|", section, re.MULTILINE)) == set(FeedbackResult)


def test_the_page_of_rollouts_has_every_field_metric_verdict_and_phase() -> None:
    page = (ROOT / "docs" / "rollouts.md").read_text()

    def section(title: str) -> str:
        return page.partition(f"## {title}")[2].partition("\n## ")[0]

    first_cells = [re.findall(r"`(\w+)`", cell) for cell in re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)]
    named = {name for cell in first_cells for name in cell}
    assert set(Plan.model_fields) - {"description"} <= named
    assert set(re.findall(r"^\| `([a-z_]+)` \|", section("Gates"), re.MULTILINE)) == set(Metric)
    assert set(re.findall(r"^\| ([A-Z]+) \|", section("Verdicts"), re.MULTILINE)) == set(Outcome)
    assert set(re.findall(r"^\| ([a-z_]+) \|", section("States"), re.MULTILINE)) - {"phase"} == set(Phase)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(
        r"`((?:config|docs|scripts|tests)/[\w./-]+)`", text
    )
    missing = [name for name in named if not (page.parent / name).exists() and not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_has_a_noun_a_verb_and_options_that_there_are(page: Path) -> None:
    wrong = {command: why for command in commands(page.read_text()) if (why := problem(command))}
    assert wrong == {}


def test_commands_are_found_in_prose_blocks_and_beside_others() -> None:
    page = """`turnout route
show digits` and

```sh
A=1 turnout status --json | tail -1; turnout top   # turnout no-command
turnout rollout start digits \\
  --to 2
```

    turnout gateways                 who is there
"""
    assert sorted(commands(page)) == [
        "gateways", "rollout start digits    --to 2", "route show digits", "status --json", "top",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("route split digits 1=90 2=10 --dry-run", None),
        ("rollout …", None),
        ("NOUN VERB", None),
        ("policy justify", "no command justify"),
        ("root show", "no command root"),
        ("route split digits --percent 5", "no option --percent"),
    ],
)
def test_a_command_that_there_is_not_is_found(command: str, why: str | None) -> None:
    assert problem(command) == why


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_fits_into_120_columns(page: Path) -> None:
    if page.parent.name == "reference":
        return
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert [
        line for line in text.splitlines() if len(line) > 120 and not line.startswith(("|", "!", "- |"))
    ] == []
