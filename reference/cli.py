"""docs/reference/cli.md: every command with its arguments and options, as `--help` has them."""

import inspect
import re
from collections.abc import Iterator

import click

from gateway.cli.exits import MEANINGS
from gateway.cli.grammar import Kind, kind_of
from gateway.cli.main import COMMANDS, turnout
from gateway.cli.mistakes import leaves

# Options that are told once: name -> which commands have it.
SHARED = {
    "--json": "all that print a result",
    "--control-url": "all that ask the control API",
    "--key": "all that ask the control API",
    "--watch": "all that only show something",
    "--every-s": "the same",
    "--dry-run": "all that change something",
    "--yes": "those that take something away",
    "--reason": "changes that are kept in history and audit",
    "--wait": "changes that gateways or workers have to follow",
    "--wait-s": "the same",
    "--expect": "changes of routes and aliases",
    "--force": "changes of routes, and of workers",
}
ASKED = ("--json", "--watch", "--dry-run", "--wait", "--yes")  # in the table of all commands
KINDS = {Kind.READING: "reads", Kind.CHANGING: "changes", Kind.RUNNING: "runs", Kind.LOCAL: "asks no server"}


def page() -> str:
    root = click.Context(turnout, info_name="turnout")
    found = list(leaves(turnout, root))
    return "\n".join([*_head(found), *(line for name in COMMANDS for line in _noun(name, found, root))])


def _head(found: list[tuple[tuple[str, ...], click.Command]]) -> Iterator[str]:
    yield from (
        "# Reference: commands",
        "",
        "Written by `scripts/reference` from the code: do not edit. How to use them: [cli.md](../cli.md).",
        "",
        "## Options that many commands share",
        "",
        "| option | which commands | meaning |",
        "| --- | --- | --- |",
    )
    for name, where in SHARED.items():
        yield f"| `{name}` | {where} | {_cell(_first(name, found))} |"
    yield from ("", "## Exit codes", "", "| code | meaning |", "| --- | --- |")
    yield from (f"| {code} | {words} |" for code, words in MEANINGS.items())
    yield from (
        "",
        "## All commands",
        "",
        f"| command | kind | {' | '.join(f'`{name}`' for name in ASKED)} |",
    )
    yield "| --- " * (len(ASKED) + 2) + "|"
    for path, command in found:
        names = {name for option in command.params for name in option.opts}
        kind = kind_of(command)
        marks = " | ".join("x" if name in names else "" for name in ASKED)
        yield f"| `{' '.join(path)}` | {'' if kind is None else KINDS[kind]} | {marks} |"
    yield ""


def _noun(
    name: str, found: list[tuple[tuple[str, ...], click.Command]], root: click.Context
) -> Iterator[str]:
    yield from (f"## {name}", "", _sentence(COMMANDS[name][1]), "")
    for path, command in found:
        if path[0] == name:
            yield from _command(path, command, root)


def _command(path: tuple[str, ...], command: click.Command, root: click.Context) -> Iterator[str]:
    ctx = click.Context(command, info_name=" ".join(path), parent=root)
    arguments = [
        param.make_metavar(ctx) for param in command.get_params(ctx) if isinstance(param, click.Argument)
    ]
    kind = kind_of(command)
    words = " ".join(["turnout", *path, *arguments])
    yield from (f"### `{words}`", "", *_help(command), "")
    if kind is not None:
        yield from (f"*{KINDS[kind]}*", "")
    own = [
        option
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden and not set(option.opts) & SHARED.keys()
    ]
    shared = [name for name in SHARED if any(name in option.opts for option in command.params)]
    if shared:
        yield from ("Shared options: " + ", ".join(f"`{name}`" for name in shared), "")
    if own:
        yield from ("| option | meaning |", "| --- | --- |")
        yield from (_option(option, ctx) for option in own)
        yield ""


def _help(command: click.Command) -> Iterator[str]:
    """Paragraphs with an empty line between them; an example stays an example."""
    for number, paragraph in enumerate(inspect.cleandoc(command.help or "").split("\n\n")):
        if number:
            yield ""
        text = paragraph.replace("\b\n", "").strip()
        is_example = all(line.startswith("turnout ") for line in text.splitlines())
        yield f"```\n{text}\n```" if is_example else text.replace("\n", " ")


def _option(option: click.Option, ctx: click.Context) -> str:
    record = option.get_help_record(ctx)
    names, words = record if record is not None else (", ".join(option.opts), "")
    return f"| `{_cell(names)}` | {_cell(words)} |"


def _first(name: str, found: list[tuple[tuple[str, ...], click.Command]]) -> str:
    for path, command in found:
        for option in command.params:
            if (
                isinstance(option, click.Option)
                and name in option.opts
                and option.help
                and path[0] != "rollout"
            ):
                return option.help
    raise KeyError(name)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
