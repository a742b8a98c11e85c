"""docs/reference/settings.md: every setting as `config/turnout.yaml` has it (a test holds that file)."""

import re
from collections.abc import Iterator
from pathlib import Path

from gateway.settings import BETWEEN, PREFIX

FILE = Path(__file__).resolve().parents[1] / "config" / "turnout.yaml"
_LINE = re.compile(
    r"^(?P<indent> *)(?P<name>\w+):(?: +(?P<value>(?!#)(?:\"[^\"]*\"|\[[^]]*\]|\S+)))?(?: *# (?P<why>.*))?$"
)
_INDENT = 2
_RESTART = "(restart) "


def page() -> str:
    return "\n".join([*_head(), *_rows(FILE.read_text())])


def _head() -> Iterator[str]:
    yield from (
        "# Reference: settings",
        "",
        "Written by `scripts/reference` from [config/turnout.yaml](../../config/turnout.yaml): do not edit.",
        "",
        "A flag wins over the environment, the environment over the file, the file over the default;",
        "`turnout config show` says which of them it was. Of `gateway` all but *restart* changes at SIGHUP",
        "([how](../operations.md#changing-settings-while-it-runs)); elsewhere a change needs a restart.",
        "",
        "## For all processes",
        "",
        *_COLUMNS,
    )


_COLUMNS = ("| setting | default | environment | what it is for |", "| --- | --- | --- | --- |")


def _rows(text: str) -> Iterator[str]:
    """One table for each section; a section within a section stays in its table."""
    path: list[str] = []
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        path = [*path[: len(found["indent"]) // _INDENT], found["name"]]
        if found["value"] is not None:
            yield _row(path, found["value"], found["why"] or "")
        elif len(path) == 1:
            yield from ("", f"## {path[0]}", "", _sentence(found["why"] or ""), "", *_COLUMNS)


def _row(path: list[str], value: str, why: str) -> str:
    if why.startswith(_RESTART):
        why = why.removeprefix(_RESTART) + " (*restart*)"
    variable = PREFIX + BETWEEN.join(path).upper()
    return f"| `{'.'.join(path)}` | `{value}` | `{variable}` | {_cell(why)} |"


def _sentence(text: str) -> str:
    text = text.removeprefix(_RESTART)
    return text[:1].upper() + text[1:] + "."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
