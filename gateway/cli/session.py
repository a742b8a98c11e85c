"""What every operator command shares: its options, its connection, and how its errors end.

`@operator` gives a command `--json`, `--control-url` and `--key` and hands it a `Session`; `@mutating` adds
the options of every command that changes something and hands it a `How`. A command returns its exit code.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from gateway.cli.client import ControlClient, WouldChange
from gateway.cli.exits import exit_code
from gateway.cli.grammar import IS_DRY, REASON, changes_itself
from gateway.cli.hints import hint
from gateway.cli.output import Output
from gateway.contract.errors import TurnoutError

PATIENCE_S = {"verify": 600.0, "report": 600.0}  # commands that look through everything
DEFAULT_URL = "http://127.0.0.1:8090"
Command = Callable[..., int]


@dataclass(frozen=True, slots=True)
class Session:
    client: ControlClient
    out: Output


@dataclass(frozen=True, slots=True)
class How:
    """How a change is to be made; `wait_s` 0 = not to wait for gateways."""

    wait_s: float
    expect: int | None
    reason: str
    dry_run: bool
    force: bool
    start_s: float = 0.0  # how long workers may take that have to be started first

    def body(self) -> dict[str, Any]:
        return {
            "expected_revision": self.expect,
            "reason": self.reason,
            "dry_run": self.dry_run,
            "force": self.force,
            "wait_s": self.wait_s,
        }


def operator(command: Command) -> Command:
    """The command gets `session` as its first argument; a `TurnoutError` becomes words and an exit code."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
    @click.option(
        "--control-url", envvar="TURNOUT_CONTROL_URL", default=DEFAULT_URL, show_default=True, metavar="URL",
        help="Where the control API is; TURNOUT_CONTROL_URL says the same.",
    )  # fmt: skip
    @click.option(
        "--key", envvar="TURNOUT_KEY", metavar="KEY",
        help="Who you are, where keys are on. TURNOUT_KEY says the same, and `ps` does not show it.",
    )  # fmt: skip
    @functools.wraps(command)
    def run(*args: Any, as_json: bool, control_url: str, key: str | None, **options: Any) -> int:
        out = Output(is_json=as_json)
        how = options.get("how")
        wait_s = how.wait_s if isinstance(how, How) else PATIENCE_S.get(command.__name__, 0.0)
        client = None
        try:
            wait_s += options.get("observe_s", 0.0)
            client = ControlClient(control_url, wait_s=wait_s, key=key, is_dry=IS_DRY.get())
            return command(Session(client, out), *args, **options)
        except WouldChange as done:
            out.value({"dry_run": True, "would_change": list(done.names)})
            out.dry_run(f"{', '.join(done.names)} would change")
            return 0
        except TurnoutError as error:
            out.error(error)
            if (words := hint(error, client)) and not as_json:
                out.failure(words)
            return exit_code(error)
        finally:
            if client is not None:
                client.close()

    return run


def mutating(command: Command) -> Command:
    """The command gets `how`. Stands above `@operator`."""

    @click.option("--wait/--no-wait", default=True, help="Return when all gateways serve it. Default: wait.")
    @click.option(
        "--wait-s", type=click.FloatRange(0, 60), default=10.0, show_default=True, metavar="SECONDS",
        help="How long to wait at most.",
    )  # fmt: skip
    @click.option(
        "--expect", type=click.IntRange(min=0), metavar="REVISION", help="Only if the route has it still."
    )
    @REASON
    @click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")
    @click.option("--force", is_flag=True, help="Also where pools are not ready.")
    @click.option(
        "--start-s", type=click.FloatRange(0, 600), default=30.0, show_default=True, metavar="SECONDS",
        help="How long workers may take that must be started first; 0 starts none.",
    )  # fmt: skip
    @functools.wraps(command)
    def run(
        *args: Any,
        wait: bool,
        wait_s: float,
        expect: int | None,
        reason: str,
        dry_run: bool,
        force: bool,
        start_s: float,
        **options: Any,
    ) -> int:
        how = How(
            wait_s=wait_s if wait and not dry_run else 0.0,
            expect=expect,
            reason=reason,
            dry_run=dry_run,
            force=force,
            start_s=0.0 if dry_run else start_s,
        )
        return command(*args, how=how, **options)

    return changes_itself(run)


def report_change(session: Session, result: Mapping[str, Any], *, how: How) -> None:
    """What one route's change was; `applied` is told apart (`report_applied`)."""
    out = session.out
    model, revision = result["model"], result["revision"]
    if not result["changed"]:
        out.line(f"{model} is so already: nothing to change (revision {revision})")
    elif how.dry_run:
        out.dry_run(f"{model} would change (revision {revision})")
    elif result["document"] is None:
        out.line(f"{model} has no route any more (revision {revision})")
    else:
        out.line(f"{model} at revision {revision} (was {result['previous_revision'] or 'new'})")
    for change in result["differences"]:
        out.line(f"  {change}")
    for warning in result["warnings"]:
        out.warning(warning)


def advise_after(session: Session, result: Mapping[str, Any]) -> None:
    """Where a route's change is seen, undone and found again. The revision is named, since a plain `rollback`
    undoes no rollback."""
    if not result["changed"] or result["dry_run"]:
        return
    model, before = result["model"], result["previous_revision"]
    session.out.advise(
        ("effect:", f"turnout compare {model}"),
        *([("undo:", f"turnout route rollback {model} --to {before}")] if before else []),
        ("record:", f"turnout audit show {result['revision']}"),
    )


def report_applied(session: Session, applied: Mapping[str, Any] | None, revision: int | None) -> int:
    """`2/2 gateways at revision 42, 6 ms`; exit code 1 if some are behind."""
    out = session.out
    if applied is None:
        return 0
    served = "" if revision is None else f" at revision {revision}"
    if applied["of"] == 0:
        out.line("no gateway is running: the first one that starts will serve it")
        return 0
    told = f"{applied['gateways']}/{applied['of']} gateways{served}, {applied['ms']:.0f} ms"
    if applied["complete"]:
        out.line(told)
        return 0
    behind = ", ".join(f"{item['address']} (revision {item['revision']})" for item in applied["stale"])
    out.failure(f"{told}; still behind: {behind}. The change is made; `turnout gateways` shows who follows")
    return 1
