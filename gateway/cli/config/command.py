"""`turnout config`: each setting with its value and where that comes from; is a file right?

It asks no server: it tells what a process that is started here, now, would be told.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from gateway.cli.exits import exit_code
from gateway.cli.grammar import Noun, local
from gateway.cli.output import Output
from gateway.contract.errors import CallerError

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.group(cls=Noun)
def config() -> None:
    """Settings: what each one is, where it comes from, and whether a file is right.

    A flag wins over the environment, the environment over the file, the file over the default.
    """


@config.command()
@click.argument("names", nargs=-1, metavar="[SETTING|SECTION]...")
@click.option(
    "-f", "--file", "path", type=click.Path(path_type=Path), metavar="FILE",
    help="Settings (YAML), as a process' --config.",
)  # fmt: skip
@click.option(
    "--set", "given", multiple=True, metavar="NAME=VALUE", help="As though a flag said so: gateway.port=9000"
)
@click.option("--changed", is_flag=True, help="Only what is not the default.")
@_JSON
@local
def show(
    names: tuple[str, ...], path: Path | None, given: tuple[str, ...], changed: bool, as_json: bool
) -> int:
    """Every setting with its value and origin; secrets are hidden.

    turnout config show gateway.limits -f my.yaml
    """
    out = Output(is_json=as_json)
    try:
        from gateway.cli.config.origins import origins

        found = origins(path, _tree(given))
    except CallerError as error:
        return _refuse(out, error)
    known = [item.path for item in found]
    for name in names:
        if not any(_is_in(path, name) for path in known):
            raise click.UsageError(f"there is no setting {name}{_near(name, known)}")
    chosen = [
        item
        for item in found
        if (not names or any(_is_in(item.path, name) for name in names))
        and not (changed and item.came_from == "default")
    ]
    out.value({"settings": [asdict(item) for item in chosen]})
    out.table(
        ("setting", "value", "from"),
        [(item.path, _text(item.value), item.came_from) for item in chosen],
        empty="everything is as by default",
    )
    return 0


@config.command()
@click.option(
    "-f", "--file", "path", type=click.Path(path_type=Path), metavar="FILE",
    help="Settings (YAML). Without it the environment alone is checked.",
)  # fmt: skip
@_JSON
@local
def check(path: Path | None, as_json: bool) -> int:
    """Would a process start with this file and this environment? Exit code 2 if not, with every problem."""
    from gateway.settings import load

    out = Output(is_json=as_json)
    try:
        load(path)
    except CallerError as error:
        return _refuse(out, error)
    out.value({"ok": True, "problems": []})
    out.line(f"{'the environment' if path is None else path}: nothing is wrong with it")
    return 0


def _refuse(out: Output, error: CallerError) -> int:
    out.error(error)
    return exit_code(error)


def _tree(given: Sequence[str]) -> dict[str, Any]:
    """`a.b=1` as the flags of a command would say it."""
    tree: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.UsageError(f"{text!r} is not NAME=VALUE")
        *sections, last = name.split(".")
        inner = tree
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return tree


def _is_in(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")


def _near(name: str, known: Sequence[str]) -> str:
    from gateway.cli.hints import near

    meant = near(name, known)
    return f"; did you mean {meant[0]}?" if meant else ""


def _text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return ", ".join(map(str, value)) or "none"
        case "":
            return '""'
        case _:
            return str(value)
