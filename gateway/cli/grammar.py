"""The one grammar of all commands: what each kind of verb can do, in decorators that stand above `@operator`.

- `@reading` (it shows something): `--watch`, with `--every-s`.
- `@mutating` of `session` (it changes routes): `--dry-run`, `--wait`, `--expect`, `--reason`, `--force`.
- `@changing` (it changes anything else): `--dry-run`; with `asks` also `--yes`.
- `@running` (it is a process that goes on until it is ended), `@local` (it asks no server): nothing more.

`tests/cli/test_grammar.py` walks all commands and holds this.
"""

import functools
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from enum import StrEnum
from typing import Any, TypeVar

import click

from gateway.cli.output import frame

Command = Callable[..., int]
Process = TypeVar("Process", bound=Callable[..., Any])
KIND = "turnout_kind"  # attribute of a command's function
EVERY_S = 2.0
# Whether the command that runs is only tried: `session.operator` tells its client.
IS_DRY: ContextVar[bool] = ContextVar("is_dry", default=False)


class Noun(click.Group):
    """Its page shows the first sentence of every verb whole; click cuts it where the line ends."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        verbs = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, verb.get_short_help_str(limit=1000)) for name, verb in verbs if verb is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class WithDefault(Noun):
    """`turnout audit --json` is `turnout audit log --json`: the noun's first reading verb may be left out."""

    default = "list"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


class Kind(StrEnum):
    READING = "reading"
    CHANGING = "changing"
    RUNNING = "running"
    LOCAL = "local"


def kind_of(command: click.Command) -> Kind | None:
    return getattr(command.callback, KIND, None)


def reading(command: Command) -> Command:
    """`--watch` shows it again and again: on a terminal in place, elsewhere whenever it differs."""

    @click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
    @click.option(
        "--every-s", type=click.FloatRange(0.2, 3600), default=EVERY_S, show_default=True, metavar="SECONDS",
        help="How often, with --watch.",
    )  # fmt: skip
    @functools.wraps(command)
    def run(*args: Any, watch: bool, every_s: float, **options: Any) -> int:
        if not watch:
            return command(*args, **options)
        return _watch(lambda: command(*args, **options), every_s=every_s)

    return _marked(run, Kind.READING)


def changing(*, asks: str = "") -> Callable[[Command], Command]:
    """`asks`: a question with the command's arguments in braces, for what takes something away."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(*args: Any, dry_run: bool, yes: bool = True, **options: Any) -> int:
            if not (yes or dry_run):
                confirm(asks.format(**options))
            token = IS_DRY.set(dry_run)
            try:
                return command(*args, **options)
            finally:
                IS_DRY.reset(token)

        marked = _marked(run, Kind.CHANGING)
        return DRY_RUN(YES(marked) if asks else marked)

    return decorate


DRY_RUN = click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
YES = click.option("--yes", is_flag=True, help="Do not ask.")
REASON = click.option("--reason", default="", metavar="TEXT", help="Why; kept in the audit log.")


def changes_itself(command: Command) -> Command:
    """A change whose `--dry-run` is the command's own affair."""
    return _marked(command, Kind.CHANGING)


def running(command: Process) -> Process:
    return _marked(command, Kind.RUNNING)


def local(command: Command) -> Command:
    return _marked(command, Kind.LOCAL)


def confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to ask: add --yes")
    click.confirm(question, abort=True, err=True)


def _watch(show: Callable[[], int], *, every_s: float) -> int:
    """Until Ctrl-C, which is how it ends in good order."""
    shown, code = None, 0
    try:
        while True:
            with frame() as text:
                code = show()
            if (now := text.getvalue()) != shown or sys.stdout.isatty():
                _draw(now, is_first=shown is None)
            shown = now
            time.sleep(every_s)
    except KeyboardInterrupt:
        return code


def _draw(text: str, *, is_first: bool) -> None:
    if sys.stdout.isatty():
        click.clear()
        click.echo(time.strftime("%H:%M:%S") + "  Ctrl-C ends this\n")
    elif not is_first and not text.startswith("{"):
        click.echo()
    click.echo(text, nl=False)
    sys.stdout.flush()


def _marked(command: Process, kind: Kind) -> Process:
    setattr(command, KIND, kind)
    return command
