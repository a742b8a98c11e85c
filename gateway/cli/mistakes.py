"""What to type instead of a command or option that there is not. Called by `main` when click refuses a line.

It loads every command to know their verbs, which takes a moment; it is only done for a line that was wrong.
"""

import re
import shlex
from collections.abc import Iterator, Sequence

import click

from gateway.cli.hints import near

_NO_COMMAND = re.compile(r"No such command '(.*)'\.")
_NO_OPTION = re.compile(r"No such option:? '?(--?[^' ]+)'?")
OF_VERBS = ("--json", "--control-url", "--key")  # options that stand behind the verb, whichever it is
# Verbs that take something away: who types one of them means the one that its noun has.
_TAKE_AWAY = ("rm", "remove", "delete", "del", "revoke", "erase")


def show(error: click.ClickException, argv: Sequence[str]) -> None:
    """As click does, with the corrected command after it."""
    if not isinstance(error, click.UsageError) or error.ctx is None:
        error.show()
        return
    path = error.ctx.command_path
    if found := _NO_COMMAND.match(error.message):
        said, suggestions = f"there is no command `{path} {found[1]}`", _commands(error.ctx, found[1], argv)
    elif found := _NO_OPTION.match(error.message):
        said, suggestions = f"`{path}` has no option {found[1]}", _options(error.ctx, found[1], argv)
    else:
        error.show()
        return
    click.echo(f"turnout: {said}", err=True)
    if suggestions:
        click.echo("Did you mean:", err=True)
        for line in suggestions:
            click.echo(f"  {line}", err=True)
    else:
        click.echo(f"`{path} --help` lists what there is", err=True)


def leaves(
    command: click.Command, ctx: click.Context, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, by its words."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(ctx):
        inner = command.get_command(ctx, name)
        if inner is not None:
            yield from leaves(inner, ctx, (*path, name))


def _commands(ctx: click.Context, word: str, argv: Sequence[str]) -> list[str]:
    """A near word of the same group; else the verb elsewhere: `turnout split digits` is `route split`."""
    if word not in argv:
        return []
    at = list(argv).index(word)
    before, after = list(argv[:at]), list(argv[at + 1 :])
    group = ctx.command
    assert isinstance(group, click.Group)
    root = ctx.find_root()
    words = [path for path, _ in leaves(root.command, root) if len(path) == 2]
    if after:  # verb and noun the wrong way round
        swapped = [path for path in words if path[1] == word and near(after[0], [path[0]])]
        if swapped:
            return [_line([], path, after[1:]) for path in swapped]
    known = group.list_commands(ctx)
    alike = [name for name in known if name in _TAKE_AWAY] if word in _TAKE_AWAY else []
    meant = alike or near(word, known)
    if meant:
        return [_line(before, [name], after) for name in meant]
    same = [path for path in words if path[1] == word]
    return [_line([], path, after) for path in same[:4]]


def _options(ctx: click.Context, name: str, argv: Sequence[str]) -> list[str]:
    known = [
        known
        for option in ctx.command.params
        if isinstance(option, click.Option)
        for known in (*option.opts, *option.secondary_opts)
    ]
    given = next((word for word in argv if word.split("=")[0] == name), None)
    if given is None:
        return []
    at, value = list(argv).index(given), given[len(name) :]
    if isinstance(ctx.command, click.Group) and name in OF_VERBS:
        taken = 1 if value or name == "--json" else 2
        return [_line(argv[:at], argv[at + taken :], argv[at : at + taken])]
    return [_line(argv[:at], [meant + value], argv[at + 1 :]) for meant in near(name, known)]


def _line(*parts: Sequence[str]) -> str:
    return shlex.join(["turnout", *(word for part in parts for word in part)])
