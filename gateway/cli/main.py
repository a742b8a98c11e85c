"""`turnout`: the one command, with its subcommands loaded only when they are called.

Loading HTTP clients, servers and model runtimes for `turnout --help` would take a second, so a subcommand is
named here as `module:attribute`, of this package, and imported when it runs. Exit codes: 0 done, 1 failed,
2 wrong use or drift, 3 refused, 4 conflict, 5 not reachable.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from gateway.cli.exits import exit_code
from gateway.contract import lifeline
from gateway.contract.errors import TurnoutError

SECTIONS = {
    "Everything on this machine": {
        "up": ("processes.up:up", "Run everything on this machine: gateway, workers, control, Redis."),
    },
    "See": {
        "status": ("status:status", "Is everything well, and if not, what is to be done?"),
        "doctor": (
            "doctor.command:doctor",
            "What is wrong with this installation, and the command to mend it.",
        ),
        "top": ("top.command:top", "All models, live: requests, errors, latency, quality, rollouts."),
        "compare": ("compare:compare", "Versions side by side: latency, errors, accuracy."),
        "drift": ("drift:drift", "Have the answers changed, before any label comes?"),
        "explain": ("explain:explain", "Why does a request go where it goes, or why did one?"),
        "pools": ("pools:pools", "Workers of each version: wanted, ready, why, where."),
        "gateways": ("gateways:gateways", "Gateway processes and the revision they serve."),
    },
    "Move traffic": {
        "route": ("route:route", "Show and change how a model's requests are split."),
        "cutover": ("cutover:cutover", "Blue/green: make another version live, or go back."),
        "rollout": ("rollout.command:rollout", "Move traffic to a version by itself, on evidence."),
        "deploy": ("rollout.deploy:deploy", "What a pipeline calls: register a version and roll it out."),
        "alias": ("alias:alias", "Names for versions that move, such as champion."),
    },
    "Whole routes and installations, as files": {
        "apply": ("folder.command:apply", "Write routes from a file, or everything from a folder."),
        "diff": ("folder.command:diff", "What would `apply` change? Exit code 2 on drift."),
        "export": ("folder.command:export", "Print the routes as a file, or write everything into a folder."),
    },
    "Versions, labels, rules, people": {
        "model": ("model.command:model", "Register and show models and their versions."),
        "feedback": ("feedback:feedback", "What became of labels."),
        "policy": ("policy:policy", "The rules that changes and rollouts have to keep."),
        "key": ("key:key", "Who may do what: keys with roles and scopes."),
        "audit": ("audit.command:audit", "Who changed what; what was live then; is the record whole?"),
        "unit": ("unit:unit", "Whose predictions these are: erase what is kept of one."),
    },
    "Processes, one by one": {
        "gateway": ("processes.gateway:gateway", "Run gateway processes (data plane)."),
        "control": ("processes.control:control", "Run the control API."),
        "supervisor": ("processes.supervisor:supervisor", "Start and stop this machine's workers by need."),
        "worker": ("processes.worker:worker", "Run one worker of one version."),
    },
    "Measure, try, settings": {
        "loadtest": (
            "loadtest.command:loadtest",
            "Load a model through a gateway, and judge what came of it.",
        ),
        "bench": ("bench.command:bench", "What versions of a model cost, measured in turn."),
        "demo": ("demo.command:demo", "Send demo traffic with delayed labels."),
        "config": ("config.command:config", "Settings: each value and where it comes from."),
        "completion": ("completion:completion", "Complete `turnout` in bash, zsh or fish."),
    },
}
COMMANDS = {name: row for rows in SECTIONS.values() for name, row in rows.items()}
VARIABLE = "_TURNOUT_COMPLETE"  # by which the shell asks what may come next
HIDDEN = {"gateway-process": "processes.gateway:gateway_process"}  # started by other commands


class LazyGroup(click.Group):
    """A group that imports a command when it is called, and lists all of them without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = COMMANDS[cmd_name][0] if cmd_name in COMMANDS else HIDDEN.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command = getattr(importlib.import_module(f"gateway.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        if VARIABLE in os.environ:
            from gateway.cli.completion import teach

            teach(command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Without importing them all."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=summary)
            for name, (_, summary) in COMMANDS.items()
            if name.startswith(incomplete)
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, rows in SECTIONS.items():
            with formatter.section(title):
                width = max(map(len, COMMANDS))
                formatter.write_dl([(name.ljust(width), summary) for name, (_, summary) in rows.items()])


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="turnout", message="turnout %(version)s")
def turnout() -> None:
    """Route each prediction to the version that should answer it.

    \b
    turnout up --demo                     all of it on this machine, with a demo
    turnout route split digits 1=90 2=10  one request in ten to version 2
    turnout compare digits                which version is better, and how sure

    Exit codes: 0 done, 1 failed, 2 wrong use or drift, 3 refused, 4 conflict, 5 not reachable.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code; nobody sees a traceback but for a bug."""
    lifeline.hold()
    if VARIABLE in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(turnout, {}, "turnout", VARIABLE, os.environ[VARIABLE])
    try:
        result: Any = turnout.main(args=argv, prog_name="turnout", standalone_mode=False)
    except click.Abort:
        click.echo("stopped", err=True)
        return 130
    except click.ClickException as error:
        from gateway.cli import mistakes

        mistakes.show(error, sys.argv[1:] if argv is None else argv)
        return error.exit_code
    except TurnoutError as error:
        click.echo(f"turnout: {error.message}", err=True)
        for problem in error.data.get("problems", ()):
            click.echo(f"  {problem}", err=True)
        return exit_code(error)
    except BrokenPipeError:
        # The reader (`| head`) has gone: nothing is wrong. Python must not complain at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
