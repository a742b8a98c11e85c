"""Where each setting's value comes from: a flag, a variable, a line of the file, or the default.

It follows the precedence of `gateway.settings` and asks no process. Called by `turnout config`.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gateway.settings import BETWEEN, PREFIX, leaves, load

COMMON = ("redis_url", "data_dir", "access")  # said once, for every section that does not say otherwise
HIDDEN = "****"
_SECRET = re.compile(r"(^|_)(secret|password|token)$")
_PASSWORD = re.compile(r"(://[^:@/]*:)[^@/]+@")


@dataclass(frozen=True, slots=True)
class Origin:
    """`value` is masked where it is secret; `came_from` is `default`, `FILE:LINE`, a variable, or a flag."""

    path: str
    value: Any
    came_from: str


def origins(file: Path | None, flags: Mapping[str, Any]) -> list[Origin]:
    """Every setting, in the order of the tree. Raises CallerError as `load` does."""
    settings = load(file, flags=flags)
    lines = dict(_lines(file)) if file is not None else {}
    given = dict(_flat(flags))
    return [
        Origin(path, masked(path, value), _came_from(path, given, file, lines))
        for path, value in leaves(settings)
    ]


def masked(path: str, value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if _SECRET.search(path.rpartition(".")[2]) and value:
        return HIDDEN
    if isinstance(value, dict) and path.endswith("traces.headers"):  # a receiver's key is one of them
        return dict.fromkeys(value, HIDDEN)
    if isinstance(value, str):
        return _PASSWORD.sub(rf"\g<1>{HIDDEN}@", value)
    return list(value) if isinstance(value, tuple) else value


def _came_from(path: str, flags: Mapping[str, Any], file: Path | None, lines: Mapping[str, int]) -> str:
    for asked in (path, *_inherited(path)):
        if asked in flags:
            return f"flag {asked}"
        if (name := _variable(asked)) is not None:
            return f"environment {name}"
        for prefix in _prefixes(asked):
            if prefix in lines:
                return f"{file}:{lines[prefix]}"
    return "default"


def _inherited(path: str) -> Iterator[str]:
    """Where a section takes what it does not say itself."""
    _, _, inner = path.partition(".")
    if inner and inner.partition(".")[0] in COMMON:
        yield inner
    if inner == "artifacts_dir":
        yield "data_dir"


def _prefixes(path: str) -> Iterator[str]:
    """The path, then what holds it: a mapping may be written as one value."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        yield ".".join(parts[:length])


def _variable(path: str) -> str | None:
    """The variable of the environment that says it, by itself or in the JSON of its section."""
    by_name = {name.upper(): name for name in os.environ if name.upper().startswith(PREFIX)}
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        found = by_name.get(PREFIX + BETWEEN.join(parts[:length]).upper())
        if found is not None and (length == len(parts) or _says(os.environ[found], parts[length:])):
            return found
    return None


def _says(text: str, rest: list[str]) -> bool:
    try:
        value: Any = json.loads(text)
    except ValueError:
        return False
    for name in rest:
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        elif value is not None:
            yield path + name, value


def _lines(file: Path) -> Iterator[tuple[str, int]]:
    """The line of each value that is not a section of its own."""
    root = yaml.compose(file.read_text(), Loader=yaml.SafeLoader)

    def walk(node: Any, path: str) -> Iterator[tuple[str, int]]:
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            inner = f"{path}{key.value}"
            if isinstance(value, yaml.MappingNode) and value.value:
                yield from walk(value, f"{inner}.")
            else:
                yield inner, key.start_mark.line + 1

    yield from walk(root, "")
